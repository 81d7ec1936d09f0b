//go:build kvmhost

package upload

import (
	"bytes"
	"crypto/sha256"
	"os"
	"strings"
	"syscall"
	"testing"

	"gozen/dom0/fault"
)

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("small", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	data := bytes.Repeat([]byte("x"), 512<<10)
	u := begin(t, dir, 4<<20)
	var err error
	for at := uint64(0); err == nil && at < 4<<20; at += uint64(len(data)) {
		err = u.Write(at, data)
	}
	if fault.KindOf(err) != fault.Exhausted || !strings.Contains(err.Error(), "data disk is full") {
		t.Errorf("error %v", err)
	}
	u.Abort()
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left", n)
	}
	// There is room again.
	u = begin(t, dir, uint64(len(data)))
	if err := u.Write(0, data); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if err := u.Commit(sum[:]); err != nil {
		t.Error(err)
	}
	if err := os.Remove(dir + "/v.raw"); err != nil {
		t.Error(err)
	}
}
