package eventfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// New returns a nonblocking eventfd (eventfd(2)) with the count 0. The caller
// closes it.
func New() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("create eventfd: %w", err)
	}
	return fd, nil
}

// one is the count that a signal adds, in the machine's byte order.
var one = [8]byte{1}

// Signal adds one to the counter of the nonblocking eventfd, which makes it
// readable. A counter already at its maximum is readable as well, so that is no
// error.
func Signal(fd int) error {
	for {
		_, err := unix.Write(fd, one[:])
		switch err {
		case nil, unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("signal eventfd %d: %w", fd, err)
		}
	}
}

// ErrClosed is returned by Wait when the waiter was closed.
var ErrClosed = errors.New("eventfd waiter closed")

// Waiter waits for an eventfd.
type Waiter struct {
	file *os.File
	buf  [8]byte
}

// NewWaiter returns a waiter for the nonblocking eventfd fd. It works on a
// duplicate: fd stays the caller's, and closing the waiter leaves it alone.
func NewWaiter(fd int) (*Waiter, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate eventfd %d: %w", fd, err)
	}
	w := &Waiter{file: os.NewFile(uintptr(dup), "eventfd")}
	// A file outside the poller would make Wait hold a thread and Close wait for
	// ever, so that is refused here. Only polled files take a deadline.
	if err := w.file.SetReadDeadline(time.Time{}); err != nil {
		_ = w.file.Close()
		return nil, fmt.Errorf("eventfd %d: is it nonblocking? %w", fd, err)
	}
	return w, nil
}

// Wait returns nil when the counter was signalled since the last Wait, and
// ErrClosed once the waiter is closed. One goroutine at a time.
func (w *Waiter) Wait() error {
	_, err := w.file.Read(w.buf[:])
	if errors.Is(err, os.ErrClosed) {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("wait for eventfd: %w", err)
	}
	return nil
}

// Close ends a Wait under way and all later ones. Safe from any goroutine.
func (w *Waiter) Close() {
	// Closing a duplicate of an eventfd has no error of interest, and a second
	// Close is allowed.
	_ = w.file.Close()
}

// Drain empties the counter of the nonblocking eventfd and returns what it was,
// 0 if it was not signalled.
func Drain(fd int) (uint64, error) {
	var b [8]byte
	for {
		_, err := unix.Read(fd, b[:])
		switch err {
		case nil:
			return binary.NativeEndian.Uint64(b[:]), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("drain eventfd %d: %w", fd, err)
		}
	}
}
