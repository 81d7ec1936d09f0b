//go:build kvmhost

package terminal

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal in a devpts of its own (as root) and
// returns the side of the person and the side of the program.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("devpts", dir, "devpts", 0, "ptmxmode=0600"); err != nil {
		t.Fatalf("mounting devpts: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	person, err := os.OpenFile(filepath.Join(dir, "ptmx"), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(filepath.Join(dir, fmt.Sprint(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	setSize(t, person, 80, 25)
	return person, program
}

func setSize(t *testing.T, f *os.File, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

func settings(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

func TestKeysReachTheGuest(t *testing.T) {
	person, program := openTerminal(t)
	before := settings(t, program)
	l := newLine()
	done := start(t, l, &Session{In: program, Escape: 0x1d})
	// The size comes first: the terminal is raw from here on.
	if got := (<-l.sent).Size; got.GetColumns() != 80 || got.GetRows() != 25 {
		t.Errorf("size %v", got)
	}
	if cmp.Equal(before, settings(t, program)) {
		t.Error("the terminal is not raw")
	}
	// Ctrl-C, Ctrl-Z and Enter are bytes for the guest.
	if _, err := person.WriteString("\x03\x1a\r"); err != nil {
		t.Fatal(err)
	}
	var got string
	for len(got) < 3 {
		got += string((<-l.sent).Data)
	}
	if got != "\x03\x1a\r" {
		t.Errorf("sent %q", got)
	}
	// A new size is sent on.
	setSize(t, person, 132, 50)
	if err := unix.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	for {
		m := <-l.sent
		if m.Size.GetColumns() == 132 && m.Size.GetRows() == 50 {
			break
		}
	}
	// The escape key detaches, and the terminal is what it was.
	if _, err := person.WriteString("\x1d"); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.end != Detached || r.err != nil {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(before, settings(t, program)); diff != "" {
		t.Errorf("the terminal was not restored:\n%s", diff)
	}
}

func TestRestoredWhenTheGuestEnds(t *testing.T) {
	_, program := openTerminal(t)
	before := settings(t, program)
	l := newLine()
	done := start(t, l, &Session{In: program, Escape: 0x1d})
	<-l.sent
	close(l.out)
	if r := <-done; r.end != Closed || r.err != nil {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(before, settings(t, program)); diff != "" {
		t.Errorf("the terminal was not restored:\n%s", diff)
	}
}

func TestRestoredByPanic(t *testing.T) {
	_, program := openTerminal(t)
	before := settings(t, program)
	raw, err := MakeRaw(program)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Restore()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Guard swallowed the panic")
			}
		}()
		defer raw.Guard()
		panic("as a fault in the program would")
	}()
	if diff := cmp.Diff(before, settings(t, program)); diff != "" {
		t.Errorf("the terminal was not restored:\n%s", diff)
	}
}

func TestRawAgainAfterStop(t *testing.T) {
	_, program := openTerminal(t)
	raw, err := MakeRaw(program)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Restore()
	want := settings(t, program)
	// What a shell does to the terminal of a program that it stopped.
	cooked := want
	cooked.Lflag |= unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(int(program.Fd()), unix.TCSETS, &cooked); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(os.Getpid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for !cmp.Equal(want, settings(t, program)) {
		runtime.Gosched()
	}
}
