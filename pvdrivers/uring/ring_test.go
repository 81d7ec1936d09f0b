package uring

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
)

// ringRequired is set by a file tagged kvmhost.
var ringRequired bool

// newRing makes a ring, or returns nil where the kernel gives none, as in many
// containers; in the emulated host, where ringRequired is set, that fails.
func newRing(t *testing.T, entries uint32) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(entries, 4)
	if err != nil {
		if ringRequired {
			t.Fatal(err)
		}
		t.Log(err)
		return nil
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// collect waits for n completions and returns them by their tags.
func collect(t *testing.T, r *Ring, n int) map[uint64]Completion {
	t.Helper()
	out := map[uint64]Completion{}
	for len(out) < n {
		if err := r.Enter(true); err != nil {
			t.Fatal(err)
		}
		for c, ok := r.Next(); ok; c, ok = r.Next() {
			out[c.Tag] = c
		}
	}
	return out
}

func vectorOf(b ...[]byte) []unix.Iovec {
	var out []unix.Iovec
	for _, s := range b {
		v := unix.Iovec{Base: &s[0]}
		v.SetLen(len(s))
		out = append(out, v)
	}
	return out
}

func TestWriteThenRead(t *testing.T) {
	r := newRing(t, 8)
	if r == nil {
		return
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	// More rounds than the queues are long, so that their indices wrap.
	for round := range byte(40) {
		a, b := bytes.Repeat([]byte{round + 1}, 100), bytes.Repeat([]byte{round + 2}, 50)
		r.Writev(7, fd, vectorOf(a, b), 10, unix.RWF_DSYNC)
		if c := collect(t, r, 1)[7]; c.Result != 150 || c.More {
			t.Fatalf("write: %+v", c)
		}
		x, y := make([]byte, 10), make([]byte, 200)
		r.Datasync(8, fd)
		r.Readv(9, fd, vectorOf(x, y), 5)
		r.Readv(10, fd, vectorOf(make([]byte, 1)), 1000)
		got := collect(t, r, 3)
		if got[8].Result != 0 || got[9].Result != 155 || got[10].Result != 0 {
			t.Fatalf("%+v", got)
		}
		if !bytes.Equal(x[5:], a[:5]) || !bytes.Equal(y[:95], a[5:]) || !bytes.Equal(y[95:145], b) {
			t.Fatal("read something else")
		}
	}
}

func TestErrorsAreResults(t *testing.T) {
	r := newRing(t, 8)
	if r == nil {
		return
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	b := make([]byte, 16)
	r.Writev(1, int(full.Fd()), vectorOf(b), 0, 0)
	r.Readv(2, 1<<20, vectorOf(b), 0)
	r.Datasync(3, int(full.Fd()))
	r.Unwatch(4, 99)
	got := collect(t, r, 4)
	for tag, want := range map[uint64]unix.Errno{1: unix.ENOSPC, 2: unix.EBADF, 3: unix.EINVAL, 4: unix.ENOENT} {
		if e := unix.Errno(-got[tag].Result); e != want {
			t.Errorf("operation %d: %v, want %v", tag, e, want)
		}
	}
}

func TestWatch(t *testing.T) {
	r := newRing(t, 8)
	if r == nil {
		return
	}
	fd, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r.Watch(1, fd)
	for range 5 { // never drained
		if err := eventfd.Signal(fd); err != nil {
			t.Fatal(err)
		}
		if c := collect(t, r, 1)[1]; c.Result&unix.POLLIN == 0 || !c.More {
			t.Fatalf("%+v", c)
		}
	}
	r.Unwatch(2, 1)
	got := collect(t, r, 2)
	if got[2].Result != 0 || got[1].More {
		t.Errorf("%+v", got)
	}
}

// A signal while Enter waits comes from another thread.
func TestWakeFromAnotherThread(t *testing.T) {
	r := newRing(t, 8)
	if r == nil {
		return
	}
	fd, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r.Watch(1, fd)
	signalled := make(chan error, 1)
	go func() { signalled <- eventfd.Signal(fd) }()
	collect(t, r, 1)
	if err := <-signalled; err != nil {
		t.Error(err)
	}
}

// What the ring is not restricted to is refused, and so is every registration.
func TestRestrictions(t *testing.T) {
	r := newRing(t, 8)
	if r == nil {
		return
	}
	for op := range uint8(60) {
		switch op {
		case opReadv, opWritev, opFsync, opPollAdd, opPollRemove:
			continue
		}
		*r.slot() = submission{Opcode: op, Fd: -1, UserData: 1}
		if c := collect(t, r, 1)[1]; unix.Errno(-c.Result) != unix.EACCES && unix.Errno(-c.Result) != unix.EINVAL {
			t.Errorf("operation %d: result %d", op, c.Result)
		}
	}
	for request := range 30 {
		if err := r.register(request, nil, 0); err != unix.EACCES && err != unix.EINVAL && err != unix.EBADFD {
			t.Errorf("registration %d: %v", request, err)
		}
	}
}

func TestTooManyOperations(t *testing.T) {
	r := newRing(t, 2)
	if r == nil {
		return
	}
	defer func() {
		if recover() == nil {
			t.Error("a third operation found room in a ring of two")
		}
		collect(t, r, 2)
	}()
	for tag := range uint64(3) {
		r.Unwatch(tag, 99)
	}
}

func TestRefused(t *testing.T) {
	for _, entries := range []uint32{0, 1 << 20} {
		if r, err := New(entries, 1); err == nil {
			_ = r.Close()
			t.Errorf("a ring of %d was made", entries)
		}
	}
}
