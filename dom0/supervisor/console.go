package supervisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// panicPause is how long a person has to read why PID 1 failed.
const panicPause = 10 * time.Second

// activeFile names the kernel's consoles, with spaces between them; the last is
// the one that /dev/console stands for (the kernel's
// Documentation/ABI/testing/sysfs-tty).
const activeFile = "/sys/class/tty/console/active"

// standardFiles makes /dev/console the standard descriptors, where the Go runtime
// writes its last words.
func standardFiles() {
	f, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return // no console at all; the kernel's log has everything
	}
	for fd := range 3 {
		_ = unix.Dup2(int(f.Fd()), fd)
	}
}

// activeConsoles returns the names of the consoles in a text in the form of
// activeFile, the preferred one last; "console" stands for it when there are none.
func activeConsoles(active string) []string {
	if names := strings.Fields(active); len(names) > 0 {
		return names
	}
	return []string{"console"}
}

// openConsoles opens every console in the directory dev for writing. One that
// does not open, as netconsole's, which has no device, is left out.
func openConsoles(dev, active string) []io.Writer {
	var out []io.Writer
	for _, name := range activeConsoles(active) {
		// Non-blocking: a serial port that nobody drains makes a goroutine wait in
		// the runtime's poller, which costs no thread.
		f, err := os.OpenFile(filepath.Join(dev, name), os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err == nil {
			out = append(out, f)
		}
	}
	return out
}

// lastWords writes text to all consoles, past all queues.
func lastWords(text string) {
	active, _ := os.ReadFile(activeFile)
	for _, name := range activeConsoles(string(active)) {
		fd, err := unix.Open("/dev/"+name, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		_, _ = unix.Write(fd, []byte(text))
		_ = unix.Close(fd)
	}
}

// rebootOnPanic is deferred in every goroutine of PID 1.
func rebootOnPanic() {
	p := recover()
	if p == nil {
		return
	}
	lastWords(fmt.Sprintf("gozen: init failed: %v\r\n%s\r\ngozen: rebooting in %s\r\n", p, debug.Stack(), panicPause))
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
	active, _ := os.ReadFile(activeFile)
	consoles := activeConsoles(string(active))
	// A shell on one console only: the preferred one.
	tty, err := os.OpenFile("/dev/"+consoles[len(consoles)-1], os.O_RDWR|unix.O_NOCTTY, 0)
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
