package upload

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"gozen/dom0/fault"
)

func begin(t *testing.T, dir string, size uint64) *Upload {
	t.Helper()
	box, err := OpenInbox(dir, "volume", ".raw")
	if err != nil {
		t.Fatal(err)
	}
	u, err := box.Begin("v", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Abort)
	return u
}

func files(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestWhole(t *testing.T) {
	dir := t.TempDir()
	want := make([]byte, 1<<20)
	copy(want[8192:], "hello")
	copy(want[1<<20-3:], "end")
	u := begin(t, dir, uint64(len(want)))
	for _, c := range []struct {
		at   uint64
		data string
	}{{8192, "hel"}, {8195, "lo"}, {1<<20 - 3, "end"}} {
		if err := u.Write(c.at, []byte(c.data)); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(want)
	if err := u.Commit(sum[:]); err != nil {
		t.Fatal(err)
	}
	u.Abort() // does nothing any more
	got, err := os.ReadFile(filepath.Join(dir, "v.raw"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("content differs, %v", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "v.raw"), &st); err != nil || st.Blocks*512 > 64<<10 {
		t.Errorf("%d bytes are taken for two pieces, %v", st.Blocks*512, err)
	}
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(u *Upload) error
		kind fault.Kind
		text string
	}{
		{"past the end", func(u *Upload) error { return u.Write(4094, []byte("abc")) }, fault.Invalid, "4096 bytes in all"},
		{"far past the end", func(u *Upload) error { return u.Write(1<<64-1, []byte("abc")) }, fault.Invalid, "4096 bytes in all"},
		{"backwards", func(u *Upload) error { return errors.Join(u.Write(10, []byte("abc")), u.Write(12, []byte("x"))) }, fault.Invalid, "must rise"},
		{"large chunk", func(u *Upload) error { return u.Write(0, make([]byte, MaxChunk+1)) }, fault.Invalid, "at most"},
		{"no digest", func(u *Upload) error { return u.Commit(nil) }, fault.Invalid, "SHA-256 has 32"},
		{"wrong digest", func(u *Upload) error { return u.Commit(make([]byte, 32)) }, fault.Aborted, "changed on the way"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			u := begin(t, dir, 4096)
			err := c.do(u)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v of kind %v", err, fault.KindOf(err))
			}
			u.Abort()
			if n := files(t, dir); n != 0 {
				t.Errorf("%d files are left", n)
			}
		})
	}
}

func TestNothingIsReplaced(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "v.raw"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := begin(t, dir, 0)
	sum := sha256.Sum256(nil)
	if err := u.Commit(sum[:]); fault.KindOf(err) != fault.Exists {
		t.Errorf("error %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "v.raw")); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	u := begin(t, dir, 4096)
	if err := u.Write(0, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenInbox(dir, "volume", ".raw"); err != nil {
		t.Fatal(err)
	}
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestFullDiskIsExplained(t *testing.T) {
	err := DiskError(`volume "v"`, t.TempDir(), &os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC})
	if fault.KindOf(err) != fault.Exhausted || !strings.Contains(err.Error(), "disk is full") || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v of kind %v", err, fault.KindOf(err))
	}
	if err := DiskError("x", "/", unix.EIO); fault.KindOf(err) != fault.Internal || !errors.Is(err, unix.EIO) {
		t.Errorf("error %v", err)
	}
}

// Whatever the pieces, the file is what was sent.
func TestAnyPieces(t *testing.T) {
	dir := t.TempDir()
	box, err := OpenInbox(dir, "file", "")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 64<<10).Draw(t, "size")
		want := make([]byte, size)
		u, err := box.Begin("x", uint64(size))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Abort()
		for at := 0; at < size; {
			at += rapid.IntRange(0, min(9000, size-at)).Draw(t, "gap")
			n := rapid.IntRange(0, min(9000, size-at)).Draw(t, "length")
			if n == 0 {
				break
			}
			if rapid.Bool().Draw(t, "zero") {
				clear(want[at : at+n])
			} else {
				for i := at; i < at+n; i++ {
					want[i] = byte(i>>8) + 1
				}
			}
			if err := u.Write(uint64(at), want[at:at+n]); err != nil {
				t.Fatal(err)
			}
			at += n
		}
		sum := sha256.Sum256(want)
		if err := u.Commit(sum[:]); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "x"))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("content differs, %v", err)
		}
		if err := os.Remove(filepath.Join(dir, "x")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOneUploadOfAName(t *testing.T) {
	dir := t.TempDir()
	box, err := OpenInbox(dir, "volume", ".raw")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(nil)
	for _, c := range []struct {
		name string
		end  func(*Upload)
	}{
		{"abort", (*Upload).Abort},
		{"commit", func(u *Upload) {
			if err := u.Commit(sum[:]); err != nil {
				t.Error(err)
			}
		}},
		{"abort after a refused commit", func(u *Upload) {
			if err := u.Commit(sum[:]); fault.KindOf(err) != fault.Exists {
				t.Errorf("error %v", err)
			}
			if err := box.Free("v"); err == nil {
				t.Error("a refused commit ended the upload")
			}
			u.Abort()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := box.Begin("v", 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = box.Begin("v", 0)
			for _, err := range []error{err, box.Free("v")} {
				if fault.KindOf(err) != fault.Exists || !strings.Contains(err.Error(), `volume "v": an upload of that name is under way`) {
					t.Errorf("error %v", err)
				}
			}
			if err := box.Free("w"); err != nil {
				t.Error(err)
			}
			c.end(u)
			if err := box.Free("v"); err != nil {
				t.Error(err)
			}
		})
	}
}
