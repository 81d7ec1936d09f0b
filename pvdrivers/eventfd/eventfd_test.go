package eventfd

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func newFD(t *testing.T) int {
	t.Helper()
	fd, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func newWaiter(t *testing.T, fd int) *Waiter {
	t.Helper()
	w, err := NewWaiter(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func TestSignalsBeforeAndDuringWait(t *testing.T) {
	fd := newFD(t)
	w := newWaiter(t, fd)
	for range 3 { // several signals are one event
		if err := Signal(fd); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	woken := make(chan error)
	go func() { woken <- w.Wait() }()
	select {
	case err := <-woken:
		t.Fatalf("the counter was not emptied: %v", err)
	default:
	}
	if err := Signal(fd); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsWaitAndLeavesTheOriginal(t *testing.T) {
	fd := newFD(t)
	w := newWaiter(t, fd)
	woken := make(chan error)
	go func() { woken <- w.Wait() }()
	w.Close()
	if err := <-woken; !errors.Is(err, ErrClosed) {
		t.Errorf("Wait after Close: %v", err)
	}
	w.Close()
	if err := Signal(fd); err != nil {
		t.Errorf("the original was closed too: %v", err)
	}
	if err := newWaiter(t, fd).Wait(); err != nil {
		t.Errorf("a later waiter misses the signal: %v", err)
	}
}

func TestSignalOfAFullCounter(t *testing.T) {
	fd := newFD(t)
	if _, err := unix.Write(fd, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := Signal(fd); err != nil {
		t.Error(err)
	}
}

func TestBadDescriptors(t *testing.T) {
	if err := Signal(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("Signal: %v", err)
	}
	if _, err := NewWaiter(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("NewWaiter: %v", err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if w, err := NewWaiter(fd); err == nil {
		w.Close()
		t.Error("a blocking eventfd was accepted")
	}
}

func TestNoAllocation(t *testing.T) {
	fd := newFD(t)
	w := newWaiter(t, fd)
	if n := testing.AllocsPerRun(100, func() {
		if Signal(fd) != nil || w.Wait() != nil {
			t.Error("signal or wait failed")
		}
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}
