package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/vmmapi"
)

// Guest is what the control socket steers. Its methods may be used from many
// goroutines.
type Guest interface {
	// State is "starting" or "running".
	State() string
	// PressPowerButton presses the ACPI power button.
	PressPowerButton() error
	// Stop ends the guest at once. It does not wait for the end.
	Stop()
	// Stats returns the counters so far.
	Stats() *vmmapi.Stats
	// ConsoleInput gives the guest what was typed, and waits while it has no room
	// for it. It fails when the guest is gone or ctx ends.
	ConsoleInput(ctx context.Context, p []byte) error
	// Resize tells the guest the terminal's size in characters.
	Resize(columns, rows uint16)
}

// Server answers the connections of the control socket.
type Server struct {
	guest   Guest
	output  *Output
	journal *Journal

	mu      sync.Mutex
	conns   map[*net.UnixConn]struct{}
	closing bool
	wg      sync.WaitGroup
}

// consoleChunk is how much output goes to a connection at once, in bytes.
const consoleChunk = 32 << 10

// inputChunk is how much is read from a connection at once, in bytes.
const inputChunk = 4 << 10

// NewServer returns a Server for a guest.
func NewServer(guest Guest, output *Output, journal *Journal) *Server {
	return &Server{guest: guest, output: output, journal: journal, conns: make(map[*net.UnixConn]struct{})}
}

// Serve accepts connections from l until it is closed.
func (s *Server) Serve(l *net.UnixListener) error {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if !s.add(conn) {
			_ = conn.Close()
			continue
		}
		go s.handle(conn)
	}
}

// Shutdown lets event streams and consoles finish what is left, for at most
// grace, and closes every connection. Output and journal are closed before.
func (s *Server) Shutdown(grace time.Duration) {
	s.mu.Lock()
	s.closing = true
	for conn := range s.conns {
		_ = conn.SetWriteDeadline(time.Now().Add(grace))
		_ = conn.CloseRead()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) add(conn *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[conn] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) handle(conn *net.UnixConn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		s.wg.Done()
	}()
	in := bufio.NewReader(conn)
	for {
		var req vmmapi.Request
		if err := vmmapi.ReadLine(in, &req); err != nil {
			if !errors.Is(err, io.EOF) {
				_ = vmmapi.WriteLine(conn, vmmapi.Response{Error: err.Error()})
			}
			return
		}
		switch req.Op {
		case vmmapi.OpConsole:
			s.console(conn, in)
			return
		case vmmapi.OpEvents:
			s.events(conn, in)
			return
		}
		if err := vmmapi.WriteLine(conn, s.answer(req)); err != nil {
			return
		}
	}
}

func (s *Server) answer(req vmmapi.Request) vmmapi.Response {
	var err error
	switch req.Op {
	case vmmapi.OpPing:
		return vmmapi.Response{State: s.guest.State()}
	case vmmapi.OpStats:
		return vmmapi.Response{State: s.guest.State(), Stats: s.guest.Stats()}
	case vmmapi.OpPowerButton:
		err = s.guest.PressPowerButton()
	case vmmapi.OpStop:
		s.guest.Stop()
	case vmmapi.OpResize:
		s.guest.Resize(req.Columns, req.Rows)
	default:
		err = errors.New("no such operation")
	}
	if err != nil {
		return vmmapi.Response{Error: err.Error()}
	}
	return vmmapi.Response{State: s.guest.State()}
}

// events streams the journal. What the client sends is ignored.
func (s *Server) events(conn *net.UnixConn, in *bufio.Reader) {
	var gone atomic.Bool
	s.wg.Go(func() {
		_, _ = io.Copy(io.Discard, in)
		if s.hungUp(conn) {
			gone.Store(true)
			s.journal.wake()
		}
	})
	for i := 0; ; i++ {
		e, ok := s.journal.next(i, gone.Load)
		if !ok || vmmapi.WriteLine(conn, e) != nil {
			break
		}
	}
	_ = conn.Close() // ends the reader
}

// console connects the guest's console and a connection. A client that closes
// only its writing side still gets the output.
func (s *Server) console(conn *net.UnixConn, in *bufio.Reader) {
	var gone atomic.Bool
	ctx, cancel := context.WithCancel(context.Background())
	from := s.output.end() // before the guest gets a first key to answer
	s.wg.Go(func() {
		s.feed(ctx, in)
		if s.hungUp(conn) {
			gone.Store(true)
			s.output.wake()
		}
	})
	s.show(conn, from, gone.Load)
	cancel()
	_ = conn.Close()
}

// feed gives the guest what the client sends.
func (s *Server) feed(ctx context.Context, in io.Reader) {
	b := make([]byte, inputChunk)
	for {
		n, err := in.Read(b)
		if n > 0 && s.guest.ConsoleInput(ctx, b[:n]) != nil || err != nil {
			return
		}
	}
}

// show writes the guest's output from position at on to conn. Whoever reads too slowly
// misses what the ring has lost, and the guest does not notice.
func (s *Server) show(conn *net.UnixConn, at uint64, gone func() bool) {
	for s.output.wait(at, gone) {
		data, offset, err := s.output.ring.Read(at, consoleChunk)
		if err != nil {
			return
		}
		if _, err := conn.Write(data); err != nil {
			return
		}
		at = offset + uint64(len(data))
	}
}

// hungUp says whether the client closed both directions. It is asked at the end
// of its input, which Shutdown causes as well.
func (s *Server) hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	hup := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		for {
			_, err := unix.Poll(p, 0)
			if err != unix.EINTR {
				hup = p[0].Revents&unix.POLLHUP != 0
				return
			}
		}
	})
	return err != nil || hup
}
