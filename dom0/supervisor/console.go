package supervisor

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// panicPause is how long a person has to read why PID 1 failed.
const panicPause = 10 * time.Second

// openConsole makes /dev/console the standard descriptors, where the Go runtime
// writes its last words, and returns it.
func openConsole() io.Writer {
	f, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return io.Discard
	}
	for fd := range 3 {
		_ = unix.Dup2(int(f.Fd()), fd)
	}
	return f
}

// rebootOnPanic is deferred in every goroutine of PID 1.
func rebootOnPanic() {
	p := recover()
	if p == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "gozen: init failed: %v\r\n%s\r\ngozen: rebooting in %s\r\n", p, debug.Stack(), panicPause)
	time.Sleep(panicPause)
	unix.Sync()
	_ = reboot.halt()
}

// startShell starts the shell of a debug image on the console, if there is one.
func (s *Supervisor) startShell() {
	text, err := os.ReadFile(debugShellFile)
	if err != nil {
		return // a release image
	}
	argv := strings.Fields(string(text))
	if len(argv) == 0 {
		return
	}
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	tty, err := os.OpenFile(activeConsole(string(active)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.log.Printf("debug shell: %v", err)
		return
	}
	defer tty.Close()
	pid, err := s.children.start(argv[0], argv, environment, []*os.File{tty, tty, tty},
		&syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0})
	if err != nil {
		s.log.Printf("debug shell: %v", err)
		return
	}
	s.shell = pid
}
