package terminal

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// inputSize is how much typed or piped input goes into one message, in bytes.
const inputSize = 16 << 10

// parting is how long output that has arrived may take to be written when the
// session is over. It may go to somebody who does not read.
const parting = time.Second

// Stream is the console call of the API; the guest is named already.
type Stream interface {
	Send(*gozenv1.ConsoleRequest) error
	Receive() (*gozenv1.ConsoleResponse, error)
}

// End is why a session ended without an error.
type End int

// Ends of a session.
const (
	Closed   End = iota // the host ended it
	Detached            // the escape key was pressed
	Found               // the text was printed
)

// Session connects a guest's console with a terminal, or with pipes.
type Session struct {
	In  *os.File
	Out io.Writer
	// Escape is the key that detaches when In is a terminal; NoEscape for none.
	Escape int
	// Until ends the session when the guest printed it; may be empty.
	Until string
	// Cancel ends the context of Run and the stream: Receive must then return. It may
	// be called more than once and from any goroutine.
	Cancel func()

	mu       sync.Mutex // only one goroutine may send at a time
	stream   Stream
	detached atomic.Bool
	guard    func() // restores the terminal when a goroutine panics
}

// Run moves bytes both ways until one side or the context ends; the stream must
// end with the context. It returns with the terminal as it was before. The end of
// a piped input ends nothing: a script wants the answer too.
func (s *Session) Run(ctx context.Context, stream Stream) (End, error) {
	s.stream, s.guard = stream, func() {}
	escape := NoEscape
	if term.IsTerminal(int(s.In.Fd())) {
		escape = s.Escape
		raw, err := MakeRaw(s.In)
		if err != nil {
			return Closed, err
		}
		defer raw.Restore()
		s.guard = raw.Guard
		sizes, stop := Sizes(s.In)
		defer stop()
		done := make(chan struct{})
		defer close(done)
		go s.sendSizes(done, sizes)
	}
	// Nothing can wake this goroutine from its read; it ends with the process, or
	// with the next key.
	go s.sendInput(escape)
	ended := make(chan outcome, 1)
	go func() {
		defer s.guard()
		end, err := s.copyOutput(stream)
		ended <- outcome{end, err}
	}()
	var o outcome
	select {
	case o = <-ended:
	case <-ctx.Done():
		select {
		case o = <-ended:
		case <-time.After(parting):
			o = outcome{Closed, context.Cause(ctx)}
		}
	}
	if s.detached.Load() {
		return Detached, nil
	}
	return o.end, o.err
}

// outcome is what Run returns.
type outcome struct {
	end End
	err error
}

// copyOutput prints what the guest does until the stream ends.
func (s *Session) copyOutput(stream Stream) (End, error) {
	finder := NewFinder(s.Until)
	for {
		msg, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return Closed, nil
		}
		if err != nil {
			return Closed, err
		}
		if _, err := s.Out.Write(msg.Data); err != nil {
			return Closed, err
		}
		if finder.Feed(msg.Data) {
			return Found, nil
		}
	}
}

// send reports whether there is still somebody to send to. Why not, Receive says.
func (s *Session) send(msg *gozenv1.ConsoleRequest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(msg) == nil
}

func (s *Session) sendInput(escape int) {
	defer s.guard()
	buf := make([]byte, inputSize)
	for {
		n, err := s.In.Read(buf)
		data, detach := Input(buf[:n], escape)
		if len(data) > 0 && !s.send(&gozenv1.ConsoleRequest{Data: data}) {
			return
		}
		if detach {
			s.detached.Store(true)
			s.Cancel()
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *Session) sendSizes(done <-chan struct{}, sizes <-chan [2]int) {
	defer s.guard()
	for {
		select {
		case <-done:
			return
		case size := <-sizes:
			if !s.send(&gozenv1.ConsoleRequest{Size: &gozenv1.TerminalSize{Columns: uint32(size[0]), Rows: uint32(size[1])}}) {
				return
			}
		}
	}
}
