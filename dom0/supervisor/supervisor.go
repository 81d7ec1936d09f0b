package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gozen/dom0/initctl"
	"gozen/dom0/modules"

	"golang.org/x/sys/unix"
)

// Paths in the image.
const (
	daemonPath     = "/bin/gozend"
	modulesList    = "/etc/gozen/modules.load" // modules that the host always needs
	debugShellFile = "/etc/gozen/debug-shell"  // names a shell, in debug images only
	modprobePath   = "/sbin/modprobe"          // where the kernel looks for its helper
)

// environment of the daemon.
var environment = []string{"PATH=/bin:/sbin:/bbin", "HOME=/", "TERM=linux"}

// Supervisor is the state of PID 1. Only loop changes it.
type Supervisor struct {
	log      *logger
	children *children

	daemon        int // process number, 0 while it does not run
	daemonStarted time.Time
	daemonBackoff backoff
	daemonOutput  *os.File

	shell int // process number of the debug shell, 0 while there is none

	wanted   chan action // the daemon says: guests are stopped, go down
	pressed  chan action // a person says: go down in order
	timers   chan func() // work for loop
	deadline <-chan time.Time
	going    *action // the end that a person asked for and the daemon prepares
}

// Main is PID 1. It returns only when nothing could end the machine; the kernel
// then does it by its panic for want of PID 1.
func Main() {
	guard(func() { panic(run()) })
}

// run returns only if the kernel refuses to halt.
func run() error {
	s := &Supervisor{
		children: newChildren(),
		wanted:   make(chan action, 1),
		pressed:  make(chan action, 1),
		timers:   make(chan func(), 16),
	}
	mountErr := mountAll(mounts)
	standardFiles()
	active, _ := os.ReadFile(activeFile)
	s.log = newLogger(openKmsg(), openConsoles("/dev", string(active))...)
	if mountErr != nil {
		s.log.Printf("%v", mountErr)
	}
	cmdline, _ := os.ReadFile("/proc/cmdline")
	setSysctls(quietWanted(string(cmdline)))
	// Ctrl-Alt-Del sends SIGINT to PID 1 instead of rebooting at once.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	_ = unix.Sethostname([]byte("gozen"))

	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGINT, unix.SIGTERM, unix.SIGPWR)
	if err := s.openControl(); err != nil {
		s.log.Printf("%v; the daemon cannot ask for a power-off", err)
	}
	s.loadModules()
	if err := s.openDaemonOutput(); err != nil {
		s.log.Printf("%v", err)
	}
	s.startDaemon()
	s.startShell()
	return s.loop(signals)
}

// loop takes all decisions.
func (s *Supervisor) loop(signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			switch sig {
			case unix.SIGCHLD:
				for _, e := range s.children.collect() {
					s.ended(e)
				}
			case unix.SIGINT:
				s.prepare(reboot)
			default:
				s.prepare(powerOff)
			}
		case fn := <-s.timers:
			fn()
		case a := <-s.pressed:
			s.prepare(a)
		case a := <-s.wanted:
			return s.down(a)
		case <-s.deadline:
			s.log.Printf("%s: the daemon did not stop all guests in %s, going on without it", *s.going, initctl.StopGuestsTimeout)
			return s.down(*s.going)
		}
	}
}

// prepare lets the daemon stop the guests before the machine goes down. A second
// wish while the first is under way changes nothing.
func (s *Supervisor) prepare(a action) {
	if s.going != nil {
		return
	}
	s.going = &a
	s.log.Printf("%s: asked for at the machine; stopping guests", a)
	s.deadline = time.After(initctl.StopGuestsTimeout)
	s.tellDaemon()
}

// tellDaemon passes the wish of a person on. A daemon that does not run now is
// told when it has started again and says so by its banner.
func (s *Supervisor) tellDaemon() {
	if s.daemon == 0 || s.going == nil {
		return
	}
	sig := initctl.SignalPowerOff
	if *s.going == reboot {
		sig = initctl.SignalReboot
	}
	_ = unix.Kill(s.daemon, sig)
}

// ended handles the end of a process that PID 1 started.
func (s *Supervisor) ended(e exit) {
	switch e.pid {
	case s.daemon:
		s.daemon = 0
		delay := s.daemonBackoff.next(time.Since(s.daemonStarted))
		s.log.Printf("the daemon ended (%s); guests keep running; starting it again in %s", describe(e.status), delay)
		s.after(delay, s.startDaemon)
	case s.shell:
		s.shell = 0
		s.after(time.Second, s.startShell)
	}
}

// after runs fn in loop.
func (s *Supervisor) after(d time.Duration, fn func()) {
	time.AfterFunc(d, func() { s.timers <- fn })
}

func describe(status unix.WaitStatus) string {
	switch {
	case status.Signaled():
		return "killed by " + status.Signal().String()
	default:
		return fmt.Sprintf("exit status %d", status.ExitStatus())
	}
}

// openDaemonOutput makes the pipe that carries the daemon's messages. It outlives
// the daemon: vmm processes may hold its other end.
func (s *Supervisor) openDaemonOutput() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("the daemon's messages are lost: %w", err)
	}
	s.daemonOutput = w
	go guard(func() { s.log.copyLines(r, "") })
	return nil
}

func (s *Supervisor) startDaemon() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		s.log.Printf("starting the daemon: %v", err)
		s.after(s.daemonBackoff.next(0), s.startDaemon)
		return
	}
	defer null.Close()
	out := s.daemonOutput
	if out == nil {
		out = null
	}
	// A session of its own: signals from a terminal do not reach it.
	pid, err := s.children.start(daemonPath, []string{daemonPath}, environment,
		[]*os.File{null, out, out}, &syscall.SysProcAttr{Setsid: true})
	s.daemonStarted = time.Now()
	if err != nil {
		delay := s.daemonBackoff.next(0)
		s.log.Printf("%v; trying again in %s", err, delay)
		s.after(delay, s.startDaemon)
		return
	}
	s.daemon = pid
}

// openControl serves the daemon's requests.
func (s *Supervisor) openControl() error {
	ln, err := listen(initctl.SocketPath)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	c := &control{uid: 0, handle: s.request}
	go guard(func() {
		if err := c.serve(ln); err != nil {
			panic(err)
		}
	})
	return nil
}

// request carries out what the daemon asks for.
func (s *Supervisor) request(req initctl.Request) error {
	var a action
	switch req.Op {
	case initctl.OpBanner:
		s.log.Printf("%s", req.Text)
		s.timers <- s.tellDaemon
		return nil
	case initctl.OpReboot:
		a = reboot
	default:
		a = powerOff
	}
	select {
	case s.wanted <- a:
		return nil
	default:
		return errors.New("the machine is going down already")
	}
}

// loadModules loads what the host always needs, and goes on loading the drivers
// of its devices in the background.
func (s *Supervisor) loadModules() {
	if err := linkHelper(); err != nil {
		s.log.Printf("the kernel cannot ask for modules: %v", err)
	}
	tree, err := modules.OpenHost()
	if err != nil {
		s.log.Printf("%v; going on with what is built into the kernel", err)
		return
	}
	if err := loadKVM(tree); err != nil {
		s.log.Printf("%v", err)
	}
	if err := tree.LoadList(modulesList); err != nil {
		s.log.Printf("%v", err)
	}
	listening, listen := context.WithCancel(context.Background())
	go guard(func() {
		err := tree.Hotplug(context.Background(), listen, func(ev modules.Uevent) {
			watchButton(ev, func() {
				select {
				case s.pressed <- powerOff:
				default:
				}
			})
		})
		s.log.Printf("devices that are plugged in from now on are not seen: %v", err)
		listen()
	})
	go guard(func() {
		<-listening.Done()
		if err := tree.Coldplug("/sys/devices"); err != nil {
			s.log.Printf("%v", err)
		}
	})
}

// linkHelper makes this program the kernel's modprobe.
func linkHelper() error {
	if err := os.MkdirAll("/sbin", 0o755); err != nil {
		return err
	}
	err := os.Symlink("/init", modprobePath)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// guard runs fn and turns a panic into a reboot.
func guard(fn func()) {
	defer rebootOnPanic()
	fn()
}
