package cli_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gozen/dom0/cli/failure"
)

// console is "gozen guest console web" between pipes.
type console struct {
	*exec.Cmd
	t      *testing.T
	in     *os.File // what it reads
	out    *os.File // what it prints
	lines  *bufio.Reader
	stderr bytes.Buffer
}

func startConsole(t *testing.T, env []string, args ...string) *console {
	t.Helper()
	c := &console{Cmd: exec.Command("gozen", append([]string{"guest", "console", "web"}, args...)...), t: t}
	c.Env, c.Stderr = env, &c.stderr
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdin, c.in, c.Stdout, c.out = stdin, in, stdout, out
	c.lines = bufio.NewReaderSize(out, 16)
	t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	err = c.Start()
	_, _ = stdin.Close(), stdout.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c
}

// say types a line.
func (c *console) say(text string) {
	c.t.Helper()
	if _, err := c.in.WriteString(text + "\n"); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads until a line that the guest printed.
func (c *console) hear(want string) {
	c.t.Helper()
	for {
		line, err := c.lines.ReadString('\n')
		if strings.TrimRight(line, "\r\n") == want {
			return
		}
		if err != nil {
			c.t.Fatalf("%v before %q; %s", err, want, &c.stderr)
		}
	}
}

// ends waits for the end, which must have this exit code.
func (c *console) ends(want int) {
	c.t.Helper()
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		c.t.Error(err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		c.t.Errorf("%v, want exit code %d; %s", c.ProcessState, want, &c.stderr)
	}
}

// full waits until the pipe of the output is full, which nobody reads.
func (c *console) full() {
	c.t.Helper()
	fd := int(c.out.Fd())
	size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	for waiting := 0; err == nil && waiting < size-2*os.Getpagesize(); {
		time.Sleep(time.Millisecond)
		waiting, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// stuff types until nobody takes any more.
func (c *console) stuff() {
	c.t.Helper()
	for {
		if err := c.in.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			c.t.Fatal(err)
		}
		_, err := c.in.Write(make([]byte, 64<<10))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// A signal ends a console between pipes, whatever it waits for.
func TestConsoleSignals(t *testing.T) {
	for _, c := range []struct {
		waitsFor string
		sig      syscall.Signal
		prepare  func(*console)
	}{
		{"both sides", unix.SIGINT, func(*console) {}},
		{"both sides", unix.SIGTERM, func(*console) {}},
		{"both sides", unix.SIGHUP, func(*console) {}},
		{"output after the end of the input", unix.SIGTERM, func(c *console) { _ = c.in.Close() }},
		{"a guest that takes no input", unix.SIGTERM, func(c *console) {
			c.say("hang")
			c.stuff()
		}},
		{"a reader that takes no output", unix.SIGTERM, func(c *console) {
			for range 64 {
				c.say("print " + strings.Repeat("x", 8<<10))
			}
			c.full()
		}},
	} {
		t.Run(unix.SignalName(c.sig)+"/"+c.waitsFor, func(t *testing.T) {
			cons := startConsole(t, startGuest(t))
			cons.say("print hello")
			cons.hear("hello")
			c.prepare(cons)
			if err := cons.Process.Signal(c.sig); err != nil {
				t.Fatal(err)
			}
			cons.ends(failure.Interrupted)
		})
	}
}

// The time of a console ends when its guest is silent, too.
func TestConsoleTimeout(t *testing.T) {
	env := startGuest(t)
	first := startConsole(t, env)
	first.say("print hello")
	first.hear("hello")
	startConsole(t, env, "--replay", "--timeout", "1s").ends(failure.Timeout)
}

// The end of a piped input is not the end of the output; the guest's is.
func TestConsoleInputEnds(t *testing.T) {
	env := startGuest(t)
	c := startConsole(t, env)
	c.say("print hello")
	_ = c.in.Close()
	c.hear("hello")
	other := startConsole(t, env)
	other.say("print more")
	c.hear("more")
	other.say("poweroff")
	c.ends(failure.OK)
	other.ends(failure.OK)
}
