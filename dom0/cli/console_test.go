package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gozen/dom0/api"
	"gozen/dom0/cli/contexts"
	"gozen/dom0/cli/failure"
	"gozen/dom0/events"
	"gozen/dom0/guests"
	"gozen/dom0/guesttest"
	"gozen/dom0/hostlog"
	"gozen/dom0/identity"
	"gozen/dom0/images"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// startGuest starts a host on the loopback interface with the guest "web", which
// is one of package guesttest, and returns the environment in which the CLI knows
// the host.
func startGuest(t *testing.T) (env []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "gz") // short, since the path of a Unix socket is
	must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	kept := hostlog.New(1 << 20)
	log := slog.New(slog.NewTextHandler(kept, nil))
	vols, err := volumes.Open(filepath.Join(dir, "volumes"))
	must(err)
	imgs, err := images.Open(filepath.Join(dir, "images"), log)
	must(err)
	kernel := guesttest.Kernel()
	up, err := imgs.Upload("linux", images.Kernel, uint64(len(kernel)))
	must(err)
	defer up.Abort()
	must(up.Write(0, kernel))
	sum := sha256.Sum256(kernel)
	_, err = up.Commit(sum[:])
	must(err)
	evs := events.NewLog(time.Now)
	manager, err := guests.Open(guests.Options{
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		VMM: "/proc/self/exe", KVM: os.DevNull, Start: guesttest.Start,
		Volumes: vols, Images: imgs, Events: evs,
		HostCPUs: 2, HostMemory: 1 << 30, Reserved: func() uint64 { return 0 },
		Clock: guests.SystemClock{}, Log: log,
	})
	must(err)
	t.Cleanup(manager.Close)
	_, err = manager.Create(&gozenv1.GuestSpec{Name: "web", Kernel: "linux"})
	must(err)
	_, err = manager.Start(t.Context(), "web")
	must(err)
	t.Cleanup(func() { _, _ = manager.Kill(context.Background(), "web") })

	ca, err := identity.NewCA("bench")
	must(err)
	host, err := ca.IssueHost([]string{"bench"}, nil)
	must(err)
	admin, err := ca.IssueAdmin("ada")
	must(err)
	config, err := identity.ServerConfig(host, ca.CertPEM)
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := api.NewServer(api.Handler(api.Services{Guests: manager, Volumes: vols, Images: imgs, Events: evs, HostLog: kept, Log: log}), config, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l, func() netip.Addr { return netip.Addr{} }) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	store := contexts.Store{Dir: filepath.Join(dir, "config")}
	must(store.Add(&contexts.Context{
		Name: "bench", Address: l.Addr().String(), CA: ca.CertPEM, Cert: admin.CertPEM, Key: admin.KeyPEM,
	}, false))
	must(store.Use("bench"))
	return append(os.Environ(), "GOZEN_CONFIG="+store.Dir)
}

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
