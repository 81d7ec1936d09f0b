package supervisor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"gozen/dom0/procfs"

	"golang.org/x/sys/unix"
)

// Bounds of the way down. Together they are less than haltDeadline.
const (
	termTimeout    = 10 * time.Second
	killTimeout    = 5 * time.Second
	unmountTimeout = 60 * time.Second
	haltDeadline   = 2 * time.Minute
)

// action is how the machine ends.
type action int

const (
	powerOff action = iota
	reboot
)

func (a action) String() string {
	if a == reboot {
		return "reboot"
	}
	return "power-off"
}

// halt ends the machine at once. It returns only if the kernel refuses.
func (a action) halt() error {
	cmd := unix.LINUX_REBOOT_CMD_POWER_OFF
	if a == reboot {
		cmd = unix.LINUX_REBOOT_CMD_RESTART
	}
	return os.NewSyscallError("reboot", unix.Reboot(cmd))
}

// down ends all processes, unmounts everything and halts. It never returns
// successfully.
func (s *Supervisor) down(a action) error {
	s.log.Printf("%s: ending all processes", a)
	// Whatever hangs below, the machine goes down.
	time.AfterFunc(haltDeadline, func() { _ = a.halt() })
	s.endProcesses()
	done := make(chan struct{})
	go guard(func() {
		defer close(done)
		unix.Sync()
		s.unmountAll()
	})
	select {
	case <-done:
	case <-time.After(unmountTimeout):
		s.log.Printf("%s: unmounting takes too long, going on", a)
	}
	s.log.Printf("%s: good-bye", a)
	s.log.flush()
	return fmt.Errorf("%s: %w", a, a.halt())
}

// endProcesses sends SIGTERM to all processes, then SIGKILL to those that stay.
func (s *Supervisor) endProcesses() {
	for _, step := range []struct {
		signal  unix.Signal
		timeout time.Duration
	}{{unix.SIGTERM, termTimeout}, {unix.SIGKILL, killTimeout}} {
		if !s.children.any() {
			return
		}
		// From PID 1, -1 is every process but itself.
		_ = unix.Kill(-1, step.signal)
		deadline := time.Now().Add(step.timeout)
		for s.children.any() && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// unmountAll unmounts what can be unmounted and makes the rest read-only.
func (s *Supervisor) unmountAll() {
	mounted, err := procfs.Mounts()
	if err != nil {
		s.log.Printf("unmount: %v", err)
		return
	}
	for _, m := range slices.Backward(mounted) {
		target := m.Point
		// The root stays, and what the shutdown itself still reads and writes.
		if target == "/" || target == "/proc" || target == "/dev" || target == "/sys" || strings.HasPrefix(target, "/sys/") {
			continue
		}
		if err := unix.Unmount(target, 0); err == nil {
			continue
		}
		if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			s.log.Printf("unmount %s: %v", target, err)
		}
	}
}
