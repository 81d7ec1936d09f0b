package supervisor

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestActiveConsoles(t *testing.T) {
	for text, want := range map[string][]string{
		"tty0 ttyS0\n": {"tty0", "ttyS0"},
		"ttyS0\n":      {"ttyS0"},
		"":             {"console"},
		"\n":           {"console"},
	} {
		if diff := cmp.Diff(want, activeConsoles(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// What PID 1 says stands on the screen and on the serial port.
func TestEveryConsole(t *testing.T) {
	dev := t.TempDir()
	for _, name := range []string{"ttyS0", "tty0", "console"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outs := openConsoles(dev, "netcon0 ttyS0 tty0\n")
	if len(outs) != 2 {
		t.Fatalf("%d consoles are open, want 2", len(outs))
	}
	l := newLogger(nil, outs...)
	l.Printf("certificate SHA256:12\nsecond")
	l.flush()
	for name, want := range map[string]string{"ttyS0": "gozen: certificate SHA256:12\r\ngozen: second\r\n", "tty0": "gozen: certificate SHA256:12\r\ngozen: second\r\n", "console": ""} {
		got, err := os.ReadFile(filepath.Join(dev, name))
		if err != nil || string(got) != want {
			t.Errorf("%s has %q, %v; want %q", name, got, err, want)
		}
	}
}

// announced is a console that tells when it is first written to. Until then the
// goroutine that writes may not run yet, and would take the count of lost lines with
// its first line.
type announced struct {
	io.Writer
	once   sync.Once
	called chan struct{}
}

func announce(w io.Writer) *announced { return &announced{Writer: w, called: make(chan struct{})} }

func (a *announced) Write(p []byte) (int, error) {
	a.once.Do(func() { close(a.called) })
	return a.Writer.Write(p)
}

// A serial port that nobody drains does not keep lines off the screen.
func TestStuckConsole(t *testing.T) {
	stuck, end := io.Pipe()
	defer stuck.Close()
	shown, screen := io.Pipe()
	port := announce(end)
	l := newLogger(nil, port, screen)
	const lines = 1000
	read := make([]byte, len("gozen: line\r\n"))
	for i := range lines {
		if i == 1 {
			<-port.called
		}
		l.Printf("line")
		if _, err := io.ReadFull(shown, read); err != nil || string(read) != "gozen: line\r\n" {
			t.Fatalf("line %d on the screen is %q, %v", i, read, err)
		}
	}
	if n := l.consoles[1].dropped.Load(); n != 0 {
		t.Errorf("%d lines are missing on the screen", n)
	}
	if l.consoles[0].dropped.Load() == 0 {
		t.Error("nothing was left out on the port that nobody drains")
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"hello\r\n":     "hello",
		"a\x1b[2Jb\tc":  "a?[2Jb c",
		"caf\u00e9":     "caf\u00e9",
		"bad\xff\u0085": "bad??",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := clean(strings.Repeat("x", 5000)); len(got) > maxRecord+10 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestLoggerDoesNotBlock checks that a console that takes nothing holds nobody
// up, and that the kernel's log has every line nevertheless.
func TestLoggerDoesNotBlock(t *testing.T) {
	r, w := io.Pipe()
	var kmsg bytes.Buffer
	console := announce(w)
	l := newLogger(&kmsg, console)
	const lines = 2000
	for i := range lines {
		if i == 1 {
			<-console.called
		}
		l.Printf("line")
	}
	if n := strings.Count(kmsg.String(), "<6>gozen: line\n"); n != lines {
		t.Errorf("the kernel's log has %d lines of %d", n, lines)
	}
	if l.consoles[0].dropped.Load() == 0 {
		t.Error("nothing was left out although nobody read the console")
	}
	// Once somebody reads, what was left out is told.
	var shown bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&shown, r)
	}()
	l.flush()
	l.Printf("last")
	l.flush()
	w.Close()
	<-done
	if !strings.Contains(shown.String(), "lines left out") || !strings.HasSuffix(shown.String(), "gozen: last\r\n") {
		t.Errorf("the console ends with %q", shown.String()[max(0, shown.Len()-200):])
	}
}

func TestCopyLines(t *testing.T) {
	var kmsg bytes.Buffer
	l := newLogger(&kmsg, io.Discard)
	l.copyLines(strings.NewReader("one\ntwo\n"+strings.Repeat("y", 10000)+"\nunended"), "d: ")
	l.flush()
	got := strings.Split(strings.TrimSpace(kmsg.String()), "\n")
	if got[0] != "<6>d: one" || got[1] != "<6>d: two" || got[len(got)-1] != "<6>d: unended" {
		t.Errorf("lines are %q", got)
	}
	for _, line := range got {
		if len(line) > maxRecord+20 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}
