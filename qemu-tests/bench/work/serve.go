package work

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Ports of the servers.
const (
	sinkPort   = 7101 // TCP: reads until the end of the stream
	sourcePort = 7102 // TCP: sends until the other side closes
	echoPort   = 7103 // TCP: returns what it reads
	countPort  = 7104 // UDP: counts datagrams; TCP: tells the count, 8 bytes, big-endian
)

// streamBuffer is what a stream reads or writes at once.
const streamBuffer = 256 << 10

// Servers are the other side of Net. They serve one client at a time well: the
// count of datagrams is of all clients together. They wait without timers.
type Servers struct {
	listeners []socket
	received  atomic.Uint64
	running   sync.WaitGroup

	closed atomic.Bool

	mu   sync.Mutex // of open, and of setting closed
	open map[socket]bool
}

// Serve starts the servers on an IPv4 address, which may be 0.0.0.0. They run until
// Close.
func Serve(at netip.Addr) (*Servers, error) {
	if !at.Is4() {
		return nil, fmt.Errorf("serve: %v is not an IPv4 address", at)
	}
	s := &Servers{open: map[socket]bool{}}
	for port, handle := range map[uint16]func(socket) error{
		sinkPort: drain, sourcePort: fill, echoPort: echo, countPort: s.tell,
	} {
		l, err := listen(unix.SOCK_STREAM, netip.AddrPortFrom(at, port))
		if err != nil {
			s.Close()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
		s.running.Go(func() { s.acceptAll(l, handle) })
	}
	u, err := listen(unix.SOCK_DGRAM, netip.AddrPortFrom(at, countPort))
	if err != nil {
		s.Close()
		return nil, err
	}
	s.listeners = append(s.listeners, u)
	s.running.Go(func() { s.count(u) })
	return s, nil
}

// Received is how many datagrams came.
func (s *Servers) Received() uint64 { return s.received.Load() }

// Close stops the servers and waits for them.
func (s *Servers) Close() {
	s.mu.Lock()
	s.closed.Store(true)
	for c := range s.open {
		_ = c.shutdown(unix.SHUT_RDWR) // ENOTCONN: the other side was first
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		// Wakes those who wait in accept and read. A UDP socket answers ENOTCONN and
		// wakes all the same.
		_ = l.shutdown(unix.SHUT_RDWR)
	}
	s.running.Wait()
	for _, l := range s.listeners {
		l.close()
	}
	s.listeners = nil
}

// acceptAll serves connections until Close.
func (s *Servers) acceptAll(l socket, handle func(socket) error) {
	for {
		c, err := l.accept()
		if err != nil {
			return // the listener was shut down
		}
		s.mu.Lock()
		if s.closed.Load() {
			s.mu.Unlock()
			c.close()
			return
		}
		s.open[c] = true
		s.mu.Unlock()
		s.running.Go(func() {
			// An error is the client's leave: it knows what it missed.
			_ = handle(c)
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
			c.close()
		})
	}
}

func (s *Servers) count(u socket) {
	buf := make([]byte, 2048)
	for {
		if _, err := unix.Read(int(u), buf); err != nil && err != unix.EINTR {
			return
		}
		if s.closed.Load() {
			return
		}
		s.received.Add(1)
	}
}

func (s *Servers) tell(c socket) error {
	_, err := c.Write(binary.BigEndian.AppendUint64(nil, s.received.Load()))
	return err
}

func drain(c socket) error {
	buf := make([]byte, streamBuffer)
	for {
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
}

func fill(c socket) error {
	buf := make([]byte, streamBuffer)
	for {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}

func echo(c socket) error {
	if err := c.noDelay(); err != nil {
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 4096))
	return err
}
