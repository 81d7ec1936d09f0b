package images

import (
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gozen/dom0/fault"
	"gozen/dom0/guesttest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(s *Store, name string, kind Kind, data []byte) (Image, error) {
	u, err := s.Upload(name, kind, uint64(len(data)))
	if err != nil {
		return Image{}, err
	}
	defer u.Abort()
	if err := u.Write(0, data); err != nil {
		return Image{}, err
	}
	sum := sha256.Sum256(data)
	return u.Commit(sum[:])
}

func want(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v (kind %v); want kind %v and %q in it", err, fault.KindOf(err), kind, text)
	}
}

func TestLife(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	k, err := add(s, "vmlinuz-6.12+deb12", Kernel, guesttest.Kernel())
	if err != nil || k.Format != "bzImage 6.12.0-test (64-bit entry)" {
		t.Fatalf("%+v, %v", k, err)
	}
	if _, err := add(s, "initrd", Initrd, []byte("anything")); err != nil {
		t.Fatal(err)
	}
	_, err = add(s, "initrd", Initrd, []byte("else"))
	want(t, err, fault.Exists, "exists already")

	s = open(t, dir) // all is there again
	if l := s.List(); len(l) != 2 || l[0].Name != "initrd" || l[1].Format != k.Format || string(l[1].SHA256) != string(k.SHA256) {
		t.Errorf("%+v", l)
	}
	if err := s.Claim("web", "vmlinuz-6.12+deb12", "initrd"); err != nil {
		t.Error(err)
	}
	want(t, s.Claim("db", "initrd", ""), fault.Invalid, "of kind initrd")
	want(t, s.Claim("db", "none", ""), fault.NotFound, "there is none")
	want(t, s.Delete("initrd"), fault.Precondition, `used by guest "web"`)
	f, err := s.OpenFile("initrd")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	_ = f.Close()
	if err != nil || string(b) != "anything" {
		t.Errorf("%q, %v", b, err)
	}
	s.Release("web")
	if err := s.Delete("initrd"); err != nil {
		t.Error(err)
	}
	want(t, s.Delete("initrd"), fault.NotFound, "there is none")
	if _, err := add(s, "initrd", Initrd, []byte("again")); err != nil {
		t.Error(err)
	}
}

func TestNoKernelIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	_, err := add(s, "notes", Kernel, []byte(strings.Repeat("not a kernel ", 100)))
	want(t, err, fault.Invalid, "not a kernel")
	_, err = add(s, "none", "other", []byte("x"))
	want(t, err, fault.Invalid, "kernel or an initrd")
	_, err = add(s, "none", Initrd, nil)
	want(t, err, fault.Invalid, "empty")
	_, err = s.Upload("large", Initrd, MaxSize+1)
	want(t, err, fault.Invalid, "at most 4GiB")
	if len(s.List()) != 0 {
		t.Errorf("%v", s.List())
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 1 { // records
		t.Errorf("%v, %v", entries, err)
	}
}

func TestHalfAnImageIsNone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, name := range []string{"short", "lost"} {
		if _, err := add(s, name, Initrd, []byte("content")); err != nil {
			t.Fatal(err)
		}
	}
	// A content without a record, one that was cut, a record without content.
	if err := os.WriteFile(s.path("stray"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.path("short"), 3); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path("lost")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if len(s.List()) != 0 {
		t.Errorf("%v", s.List())
	}
	if _, err := os.Stat(filepath.Join(dir, "stray"+suffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stray content: %v", err)
	}
}
