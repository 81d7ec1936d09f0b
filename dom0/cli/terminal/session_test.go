package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// line is the far end of a console: what the test prints comes out of Receive,
// and what the session sends is handed to the test.
type line struct {
	out  chan []byte
	sent chan *gozenv1.ConsoleRequest
	once sync.Once
	cut  chan struct{}
}

var errCut = errors.New("the stream was cut")

func newLine() *line {
	return &line{out: make(chan []byte), sent: make(chan *gozenv1.ConsoleRequest), cut: make(chan struct{})}
}

func (l *line) cancel() { l.once.Do(func() { close(l.cut) }) }

func (l *line) Send(m *gozenv1.ConsoleRequest) error {
	// A message that is sent is marshalled: later changes to its bytes do not count.
	m = &gozenv1.ConsoleRequest{Name: m.Name, Replay: m.Replay, Data: bytes.Clone(m.Data), Size: m.Size}
	select {
	case l.sent <- m:
		return nil
	case <-l.cut:
		return io.EOF
	}
}

func (l *line) Receive() (*gozenv1.ConsoleResponse, error) {
	select {
	case data, ok := <-l.out:
		if !ok {
			return nil, io.EOF
		}
		return &gozenv1.ConsoleResponse{Data: data}, nil
	case <-l.cut:
		return nil, errCut
	}
}

// result is how a session ended.
type result struct {
	end End
	err error
	out string
}

// start runs a session on a line and returns its end.
func start(t *testing.T, l interface {
	Stream
	cancel()
}, s *Session) <-chan result {
	t.Helper()
	var out bytes.Buffer
	if s.Out == nil {
		s.Out = &out
	}
	s.Cancel = l.cancel
	done := make(chan result, 1)
	go func() {
		end, err := s.Run(context.Background(), l)
		done <- result{end, err, out.String()}
	}()
	t.Cleanup(l.cancel)
	return done
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestPipes(t *testing.T) {
	r, w := pipe(t)
	l := newLine()
	done := start(t, l, &Session{In: r, Escape: 0x1d})
	// No key detaches where bytes come from a program.
	if _, err := w.WriteString("a\x1db\x00\xff"); err != nil {
		t.Fatal(err)
	}
	if got := string((<-l.sent).Data); got != "a\x1db\x00\xff" {
		t.Errorf("sent %q", got)
	}
	// The end of the input does not end the output.
	w.Close()
	l.out <- []byte("one\r\n")
	l.out <- []byte("two\x00")
	close(l.out)
	if got := <-done; got != (result{Closed, nil, "one\r\ntwo\x00"}) {
		t.Errorf("%+v", got)
	}
}

// A guest that takes no input is heard all the same.
func TestInputWaits(t *testing.T) {
	r, w := pipe(t)
	l := &busyLine{line: newLine(), sending: make(chan struct{})}
	done := start(t, l, &Session{In: r, Escape: NoEscape})
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	<-l.sending
	l.out <- []byte("one ")
	l.out <- []byte("two")
	close(l.out)
	if got := <-done; got != (result{Closed, nil, "one two"}) {
		t.Errorf("%+v", got)
	}
}

// busyLine is a line on which nothing can be sent until it is cut.
type busyLine struct {
	*line
	sending chan struct{} // closed when the session tries
}

func (l *busyLine) Send(*gozenv1.ConsoleRequest) error {
	close(l.sending)
	<-l.cut
	return io.EOF
}

func TestUntil(t *testing.T) {
	r, _ := pipe(t)
	l := newLine()
	done := start(t, l, &Session{In: r, Until: "login: "})
	l.out <- []byte("Debian\r\nlog")
	l.out <- []byte("in: ")
	if got := <-done; got != (result{Found, nil, "Debian\r\nlogin: "}) {
		t.Errorf("%+v", got)
	}
}

func TestCut(t *testing.T) {
	r, _ := pipe(t)
	l := newLine()
	done := start(t, l, &Session{In: r})
	l.cancel()
	if got := <-done; !errors.Is(got.err, errCut) {
		t.Errorf("%+v", got)
	}
}

func TestOutputGone(t *testing.T) {
	r, _ := pipe(t)
	outRead, out := pipe(t)
	outRead.Close()
	l := newLine()
	done := start(t, l, &Session{In: r, Out: out})
	l.out <- []byte("x")
	if got := <-done; got.err == nil {
		t.Error("writing to nobody is no error")
	}
}
