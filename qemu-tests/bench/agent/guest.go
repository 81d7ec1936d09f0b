package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/platform"
	"gozen/qemu-tests/bench/protocol"
	"gozen/qemu-tests/vmmhost"
)

// machine is a guest to start, alike for all VMMs.
type machine struct {
	kernel    string // bzImage
	elf       string // the same kernel as ELF, for VMMs that take no bzImage; "" if there is none
	initrd    string
	words     []string // of the kernel's command line, beyond console and VMM's own
	vcpus     int
	memoryMiB uint64
	disks     []string // files or block devices
	tap       string
	mac       string
	// distribution: the kernel is a distribution's, with its own choice of drivers.
	distribution bool
}

// guest is a started one.
type guest struct {
	pid     int
	started time.Time
	lines   <-chan string // of its console; closed at its end
	stop    func()        // ends it and waits for its end

	mu   sync.Mutex
	last []string // of its console, for errors
}

// keepLines is how many lines of the console an error shows.
const keepLines = 12

func (g *guest) read(r io.Reader, out chan<- string) {
	defer close(out)
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			g.mu.Lock()
			if g.last = append(g.last, line); len(g.last) > keepLines {
				g.last = g.last[1:]
			}
			g.mu.Unlock()
			out <- line
		}
		if err != nil {
			return
		}
	}
}

// until waits for a line that match accepts; other lines go to see, if it is not nil.
func (g *guest) until(ctx context.Context, what string, match func(string) bool, see func(string)) error {
	for {
		select {
		case line, ok := <-g.lines:
			switch {
			case !ok:
				return fmt.Errorf("the guest ended before %s; its console ended: %s", what, g.tail())
			case match(line):
				return nil
			case see != nil:
				see(line)
			}
		case <-ctx.Done():
			return fmt.Errorf("no %s in time; the console ended: %s", what, g.tail())
		}
	}
}

func (g *guest) tail() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.last, " | ")
}

// startGuest starts a VMM with the guest.
func startGuest(ctx context.Context, s protocol.Step, m machine) (*guest, error) {
	if s.Subject == protocol.Gozen {
		return startGozen(ctx, m)
	}
	args, err := arguments(s.Subject, m)
	if err != nil {
		return nil, err
	}
	return startProcess(s.Program, args)
}

func startGozen(ctx context.Context, m machine) (*guest, error) {
	o := vmmhost.Options{
		VMM: protocol.VMM, Kernel: m.kernel, Initrd: m.initrd, VCPUs: m.vcpus, MemoryBytes: m.memoryMiB << 20,
		Cmdline: platform.CommandLine(strings.Join(append([]string{"console=hvc0"}, m.words...), " ")),
		Vhost:   true, EntropyRate: 1 << 30, Errors: os.Stderr,
	}
	for _, d := range m.disks {
		o.Disks = append(o.Disks, vmmhost.Disk{Path: d})
	}
	if m.tap != "" {
		o.Nics = []vmmhost.Nic{{Tap: m.tap, MAC: m.mac}}
	}
	v, err := vmmhost.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	lines := make(chan string, 256)
	g := &guest{pid: v.PID, started: v.Started, lines: lines, stop: v.Close}
	go g.read(v.Console, lines)
	return g, nil
}

// startProcess starts a VMM whose console is its terminal.
func startProcess(program string, args []string) (*guest, error) {
	terminal, slave, err := openTerminal()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	started := time.Now()
	err = cmd.Start()
	_ = slave.Close()
	if err != nil {
		_ = terminal.Close()
		return nil, err
	}
	lines := make(chan string, 256)
	g := &guest{pid: cmd.Process.Pid, started: started, lines: lines}
	var once sync.Once
	g.stop = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = terminal.Close()
		})
	}
	go g.read(terminal, lines)
	return g, nil
}

// openTerminal makes a pseudo-terminal that changes nothing of what passes.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, fmt.Errorf("pseudo-terminal: %w", err)
	}
	if t, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS); err == nil {
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO
		_ = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, t)
	}
	return master, slave, nil
}
