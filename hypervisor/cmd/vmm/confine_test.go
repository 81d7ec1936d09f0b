package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// confinedEnv names what a process that this test starts does once confined.
const confinedEnv = "VMM_TEST_CONFINED"

func TestMain(m *testing.M) {
	if name := os.Getenv(confinedEnv); name != "" {
		confined(name)
	}
	code := m.Run()
	if testDir != "" {
		_ = os.RemoveAll(testDir)
	}
	os.Exit(code)
}

var testDir string

// confinedBinary is this test program built as vmm is, without cgo, whose
// threads are made in another way than those of the Go runtime.
var confinedBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vmm-test-")
	if err != nil {
		return "", err
	}
	testDir = dir
	bin := filepath.Join(dir, "vmm.test")
	cmd := exec.Command("go", "test", "-c", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// confined does not return.
func confined(name string) {
	l, err := net.Listen("unix", os.Getenv(confinedEnv+"_SOCKET"))
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	act := actions[name]
	if err := confine(); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	if err := act(l); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Println("done")
	os.Exit(0)
}

var actions = map[string]func(l net.Listener) error{
	// What a vmm does.
	"work": func(l net.Listener) error {
		var wg sync.WaitGroup
		for range 20 { // new threads, garbage, timers
			wg.Go(func() {
				runtime.LockOSThread()
				b := make([]byte, 1<<20)
				b[len(b)-1] = 1
				time.Sleep(time.Millisecond)
				runtime.KeepAlive(b)
			})
		}
		wg.Wait()
		runtime.GC()
		return unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGUSR1)
	},
	"serve": func(l net.Listener) error {
		fmt.Println("listening")
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		b := make([]byte, 16)
		n, err := conn.Read(b)
		if err != nil {
			return err
		}
		_, err = conn.Write(b[:n])
		return err
	},

	// What only somebody else would want to do.
	"open":   func(net.Listener) error { _, err := os.ReadFile("/etc/hostname"); return err },
	"socket": func(net.Listener) error { _, err := net.Dial("unix", "/none"); return err },
	"execute": func(net.Listener) error {
		return syscall.Exec("/bin/true", []string{"true"}, nil)
	},
	"fork": func(net.Listener) error {
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		return errno
	},
	"signal": func(net.Listener) error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) },
	"code": func(net.Listener) error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	},
	"create a VM": func(net.Listener) error {
		const createVM = 0xae01 // KVM_CREATE_VM
		_, err := unix.IoctlRetInt(0, createVM)
		return err
	},
}

func start(t *testing.T, name string) (cmd *exec.Cmd, out *bytes.Buffer, socket string) {
	t.Helper()
	exe, err := confinedBinary()
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "s")
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), confinedEnv+"="+name, confinedEnv+"_SOCKET="+socket)
	out = new(bytes.Buffer)
	cmd.Stderr = out
	return cmd, out, socket
}

func TestConfinedWork(t *testing.T) {
	cmd, out, _ := start(t, "work")
	cmd.Stdout = out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "done") {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestConfinedServe(t *testing.T) {
	cmd, out, socket := start(t, "serve")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	line := make([]byte, len("listening\n"))
	if _, err := stdout.Read(line); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	if n, err := conn.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("read %q, %v", b[:n], err)
	}
}

func TestConfinedDies(t *testing.T) {
	for _, name := range []string{"open", "socket", "execute", "fork", "signal", "code", "create a VM"} {
		t.Run(name, func(t *testing.T) {
			cmd, out, _ := start(t, name)
			cmd.Stdout = out
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("%v: %s", err, out)
			}
			if ws := exit.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGSYS {
				t.Fatalf("ended with %v, not by SIGSYS: %s", exit, out)
			}
		})
	}
}
