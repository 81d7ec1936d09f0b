package work

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets here are the kernel's own, blocking: an operation is one system call.
// Package net's would add a wait by epoll and a change of goroutines to most of
// them, which hides the difference between two VMMs.

// patience is how long a call may wait for the other side.
const patience = 10 * time.Second

type socket int

// newSocket makes a socket of type SOCK_STREAM or SOCK_DGRAM.
func newSocket(kind int) (socket, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	return socket(fd), nil
}

// listen makes a socket that is bound to an address, and listens if it is a stream's.
func listen(kind int, at netip.AddrPort) (socket, error) {
	s, err := newSocket(kind)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(int(s), sockaddr(at))
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(int(s), 16)
	}
	if err != nil {
		s.close()
		return -1, fmt.Errorf("listen on %v: %w", at, err)
	}
	return s, nil
}

// dial makes a socket that is connected to an address. Its calls wait no longer
// than patience.
func dial(kind int, to netip.AddrPort) (socket, error) {
	s, err := newSocket(kind)
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	if err == nil {
		err = unix.Connect(int(s), sockaddr(to))
	}
	if err != nil {
		s.close()
		return -1, fmt.Errorf("connect to %v: %w", to, err)
	}
	return s, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// accept waits for a connection.
func (s socket) accept() (socket, error) {
	for {
		fd, _, err := unix.Accept4(int(s), unix.SOCK_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			return socket(fd), err
		}
	}
}

// Read implements io.Reader.
func (s socket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write implements io.Writer.
func (s socket) Write(p []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Write(int(s), p[done:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return done, err
		}
		if done += n; done == len(p) {
			return done, nil
		}
	}
}

// noDelay sends small messages at once.
func (s socket) noDelay() error {
	return unix.SetsockoptInt(int(s), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

// shutdown ends one direction or both; it wakes who waits in a call.
func (s socket) shutdown(how int) error { return unix.Shutdown(int(s), how) }

func (s socket) close() {
	_ = unix.Close(int(s)) // what had to arrive was acknowledged before
}
