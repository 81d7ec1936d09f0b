//go:build kvmhost

package block

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// loopDevice puts the file at path on a loop device and returns the device's
// path.
func loopDevice(t *testing.T, path string) string {
	t.Helper()
	control := openFD(t, "/dev/loop-control", unix.O_RDWR)
	defer unix.Close(control)
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal("LOOP_CTL_GET_FREE: ", err)
	}
	name := fmt.Sprintf("/dev/loop%d", n)
	loop := openFD(t, name, unix.O_RDWR)
	backing := openFD(t, path, unix.O_RDWR)
	defer unix.Close(backing)
	if err := unix.IoctlSetInt(loop, unix.LOOP_SET_FD, backing); err != nil {
		t.Fatal("LOOP_SET_FD: ", err)
	}
	t.Cleanup(func() {
		if err := unix.IoctlSetInt(loop, unix.LOOP_CLR_FD, 0); err != nil {
			t.Error("LOOP_CLR_FD: ", err)
		}
		unix.Close(loop)
	})
	return name
}

func TestBlockDevice(t *testing.T) {
	path := newFile(t, testSectors)
	r := newRigOn(t, loopDevice(t, path), Config{}, 0)
	if d := r.dev.disk; !d.device || d.sectors != testSectors || d.logical < sectorBytes || d.physical < d.logical {
		t.Errorf("disk %+v", d)
	}
	want := bytes.Repeat([]byte{0xaa}, testSectors*sectorBytes)
	if s := r.write(0, want); s != statusOK {
		t.Fatalf("write: status %d", s)
	}
	if s := r.do(typeFlush, 0); s != statusOK {
		t.Fatalf("flush: status %d", s)
	}
	full := blocks(t, path)
	for _, c := range []struct {
		name   string
		typ    uint32
		flags  uint32
		sector uint64
	}{
		{"discard", typeDiscard, 0, 64},
		{"write zeroes", typeWriteZeroes, 0, 512},
		{"write zeroes with unmap", typeWriteZeroes, flagUnmap, 1024},
	} {
		if s := r.ranges(c.typ, c.flags, [2]uint64{c.sector, 128}); s != statusOK {
			t.Errorf("%s: status %d", c.name, s)
		}
		clear(want[c.sector*sectorBytes : (c.sector+128)*sectorBytes])
	}
	if s := r.do(typeFlush, 0); s != statusOK {
		t.Errorf("flush: status %d", s)
	}
	if got, s := r.read(0, len(want)); s != statusOK || !bytes.Equal(got, want) {
		t.Errorf("read: status %d, equal %v", s, bytes.Equal(got, want))
	}
	if now := blocks(t, path); now > full-64 { // less what the file system itself took
		t.Errorf("the backing file had %d blocks and has %d after a discard of 128", full, now)
	}
	if s := r.write(testSectors, pattern(512, 0)); s != statusIOErr {
		t.Errorf("write past the end: status %d", s)
	}
}

// A volume larger than its file system, which the guest fills: what does not fit
// is an I/O error, what was written is sound, and a discard makes room again.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "volume")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, testSectors*sectorBytes); err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, path, Config{}, 0)
	const step = 64 // sectors
	data := pattern(step*sectorBytes, 1)
	written := uint64(0)
	for ; written < testSectors; written += step {
		if s := r.write(written, data); s == statusIOErr {
			break
		} else if s != statusOK {
			t.Fatalf("status %d", s)
		}
	}
	if written == 0 || written >= testSectors {
		t.Fatalf("%d sectors fit into a file system of 512", written)
	}
	if s := r.ranges(typeWriteZeroes, 0, [2]uint64{written, step}); s != statusIOErr {
		t.Errorf("allocating write zeroes on a full file system: status %d", s)
	}
	for at := uint64(0); at < written; at += step {
		if got, s := r.read(at, len(data)); s != statusOK || !bytes.Equal(got, data) {
			t.Fatalf("sector %d: status %d, equal %v", at, s, bytes.Equal(got, data))
		}
	}
	if s := r.ranges(typeDiscard, 0, [2]uint64{0, step}); s != statusOK {
		t.Errorf("discard: status %d", s)
	}
	if s := r.write(written, data); s != statusOK {
		t.Errorf("write after a discard: status %d", s)
	}
	if err := r.tr.Err(); err != nil {
		t.Errorf("device in error: %v", err)
	}
}
