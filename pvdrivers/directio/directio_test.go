package directio

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func flags(t *testing.T, f *os.File) int {
	t.Helper()
	n, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What Enable says is what the file then does, whatever file system it is on.
func TestEnable(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if a, err := Alignment(int(f.Fd())); err != nil || a != 1 {
		t.Errorf("before: alignment %d, %v", a, err)
	}
	on, err := Enable(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if got := flags(t, f)&unix.O_DIRECT != 0; got != on {
		t.Errorf("Enable says %v, the file %v", on, got)
	}
	a, err := Alignment(int(f.Fd()))
	if err != nil || a < 1 || !on && a != 1 {
		t.Errorf("direct %v: alignment %d, %v", on, a, err)
	}
}

// A pipe in packet mode has the flag O_DIRECT, and no alignment.
func TestAlignmentTurnsOff(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_DIRECT); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe")
	defer r.Close()
	defer w.Close()
	if on, err := Enable(p[1]); on || err != nil {
		t.Errorf("direct I/O on a pipe: %v, %v", on, err)
	}
	if a, err := Alignment(p[1]); err != nil || a != 1 || flags(t, w)&unix.O_DIRECT != 0 {
		t.Errorf("alignment %d, %v, flags %#x", a, err, flags(t, w))
	}
}

func TestClosed(t *testing.T) {
	if _, err := Enable(-1); err == nil {
		t.Error("Enable of no descriptor")
	}
	if _, err := Alignment(-1); err == nil {
		t.Error("Alignment of no descriptor")
	}
}
