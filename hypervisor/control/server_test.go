package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gozen/hypervisor/vmmapi"
)

// recorder is a Guest that notes what it is asked.
type recorder struct {
	mu     sync.Mutex
	input  strings.Builder
	asked  []string
	typed  chan struct{} // a token for each ConsoleInput
	full   bool          // has no room for input
	broken bool          // has no power button
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, s)
}

func (r *recorder) State() string { return "running" }
func (r *recorder) PressPowerButton() error {
	r.note("button")
	if r.broken {
		return errors.New("no button")
	}
	return nil
}
func (r *recorder) Stop() { r.note("stop") }
func (r *recorder) Stats() *vmmapi.Stats {
	return &vmmapi.Stats{VMMExits: map[string]uint64{"io": 7}}
}
func (r *recorder) Resize(columns, rows uint16) { r.note(fmt.Sprintf("%dx%d", columns, rows)) }
func (r *recorder) ConsoleInput(ctx context.Context, p []byte) error {
	r.mu.Lock()
	full := r.full
	if !full {
		r.input.Write(p)
	}
	r.mu.Unlock()
	r.typed <- struct{}{}
	if full {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

type fixture struct {
	guest   *recorder
	output  *Output
	journal *Journal
	server  *Server
	path    string
}

func start(t *testing.T, ringBytes int) *fixture {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "ring"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	ring, err := vmmapi.CreateRing(f, ringBytes)
	if err != nil {
		t.Fatal(err)
	}
	output, err := NewOutput(ring)
	if err != nil {
		t.Fatal(err)
	}
	x := &fixture{guest: &recorder{typed: make(chan struct{}, 100)}, output: output, journal: NewJournal(), path: filepath.Join(t.TempDir(), "s")}
	x.server = NewServer(x.guest, output, x.journal)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: x.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- x.server.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return x
}

func (x *fixture) dial(t *testing.T) *vmmapi.Client {
	t.Helper()
	c, err := vmmapi.Dial(t.Context(), x.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// console opens a console and returns when the server shows it: a byte that is
// typed reaches the guest only then.
func (x *fixture) console(t *testing.T, c *vmmapi.Client) *net.UnixConn {
	t.Helper()
	conn, err := c.Console(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte(".")); err != nil {
		t.Fatal(err)
	}
	<-x.guest.typed
	return conn
}

func TestRequests(t *testing.T) {
	x := start(t, 1024)
	c := x.dial(t)
	for _, tc := range []struct {
		req     vmmapi.Request
		refused string
	}{
		{vmmapi.Request{Op: vmmapi.OpPing}, ""},
		{vmmapi.Request{Op: vmmapi.OpPowerButton}, ""},
		{vmmapi.Request{Op: vmmapi.OpResize, Columns: 80, Rows: 25}, ""},
		{vmmapi.Request{Op: "fly"}, "no such operation"},
		{vmmapi.Request{Op: vmmapi.OpStop}, ""},
	} {
		resp, err := c.Do(t.Context(), tc.req)
		if tc.refused != "" {
			if err == nil || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("%s: %v, want %q", tc.req.Op, err, tc.refused)
			}
			continue
		}
		if err != nil || resp.State != "running" {
			t.Errorf("%s: %+v, %v", tc.req.Op, resp, err)
		}
	}
	if got := strings.Join(x.guest.asked, " "); got != "button 80x25 stop" {
		t.Errorf("the guest was asked %q", got)
	}
	x.guest.broken = true
	if _, err := c.Do(t.Context(), vmmapi.Request{Op: vmmapi.OpPowerButton}); err == nil || !strings.Contains(err.Error(), "no button") {
		t.Errorf("a broken button: %v", err)
	}
	if resp, err := c.Do(t.Context(), vmmapi.Request{Op: vmmapi.OpStats}); err != nil || resp.Stats.VMMExits["io"] != 7 {
		t.Errorf("stats: %+v, %v", resp, err)
	}
}

func TestEventsReplayAndFollow(t *testing.T) {
	x := start(t, 1024)
	c := x.dial(t)
	x.journal.Add(vmmapi.Event{Kind: vmmapi.EventRunning})
	var streams []*vmmapi.EventStream
	for range 3 {
		s, err := c.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if e, err := s.Next(); err != nil || e.Kind != vmmapi.EventRunning {
			t.Fatalf("first event %+v, %v", e, err)
		}
		streams = append(streams, s)
	}
	x.journal.Add(vmmapi.Event{Kind: vmmapi.EventOutcome})
	x.journal.Close()
	x.output.Close()
	x.server.Shutdown(time.Minute)
	for _, s := range streams {
		if e, err := s.Next(); err != nil || e.Kind != vmmapi.EventOutcome {
			t.Fatalf("last event %+v, %v", e, err)
		}
		if _, err := s.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last event: %v", err)
		}
	}
}

func TestJournalIsBounded(t *testing.T) {
	j := NewJournal()
	for range 10 * maxEvents {
		j.Add(vmmapi.Event{Kind: vmmapi.EventDeviceError})
	}
	j.Add(vmmapi.Event{Kind: vmmapi.EventOutcome})
	j.Close()
	j.Add(vmmapi.Event{Kind: vmmapi.EventPanic})
	n := 0
	var last vmmapi.Event
	for {
		e, ok := j.next(n, func() bool { return false })
		if !ok {
			break
		}
		n, last = n+1, e
	}
	if n != maxEvents+1 || last.Kind != vmmapi.EventOutcome {
		t.Fatalf("%d events, the last %+v", n, last)
	}
}

func TestConsoleBothWays(t *testing.T) {
	x := start(t, 1024)
	if _, err := x.output.Write([]byte("before\n")); err != nil {
		t.Fatal(err)
	}
	conn := x.console(t, x.dial(t))
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	<-x.guest.typed
	if got := x.guest.input.String(); got != ".hello" {
		t.Errorf("the guest got %q", got)
	}
	// A client that has nothing more to type still reads.
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.output.Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	x.output.Close()
	if b, err := io.ReadAll(conn); err != nil || string(b) != "after\n" {
		t.Errorf("the console showed %q, %v", b, err)
	}
}

// A console that nobody reads, and one whose client is gone, cost the guest
// nothing, and the one that is read again shows the latest output.
func TestConsoleSlowReader(t *testing.T) {
	x := start(t, 4096)
	c := x.dial(t)
	slow, gone := x.console(t, c), x.console(t, c)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 1000) + "\n")
	for range 5000 { // far more than sockets and ring hold
		if _, err := x.output.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.output.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	x.output.Close()
	b, err := io.ReadAll(slow)
	if err != nil || !strings.HasSuffix(string(b), "the end") {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}

// A guest that does not read its console holds up the one who types, not the
// end of the connection.
func TestConsoleInputHeldUp(t *testing.T) {
	x := start(t, 1024)
	x.guest.full = true
	conn := x.console(t, x.dial(t))
	x.output.Close()
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	x.server.Shutdown(time.Minute) // returns: nobody waits for the guest
}

func TestShutdownWithAClientThatDoesNotRead(t *testing.T) {
	x := start(t, 1<<20)
	conn := x.console(t, x.dial(t))
	defer conn.Close()
	if _, err := x.output.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	x.output.Close()
	x.journal.Close()
	x.server.Shutdown(time.Millisecond)
}

func TestBadLine(t *testing.T) {
	x := start(t, 1024)
	conn, err := net.Dial("unix", x.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\n")); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(b), "decode line") {
		t.Fatalf("answer %q, %v", b, err)
	}
}
