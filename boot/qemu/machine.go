package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program is the emulator, looked up in PATH.
const Program = "qemu-system-x86_64"

// Machine is a running or ended machine.
type Machine struct {
	Serial      *Serial
	Accelerator Accelerator
	// Input is typed into the serial console; nil for an interactive machine.
	Input io.Writer

	dir      string
	monitor  *monitor
	forwards map[int]int
	process  *os.Process

	done chan struct{}
	exit Exit // valid when done is closed

	mu     sync.Mutex
	killed bool
}

// Exit is how a machine ended.
type Exit struct {
	// Reason is QEMU's word: "guest-shutdown" (it powered off), "guest-reset"
	// (with HaltOnReset), "host-qmp-quit", "guest-panic"; or "killed", or "failed".
	Reason string
	// Message has QEMU's own words when it failed.
	Message string
}

// PoweredOff reports whether the machine ended by itself in order.
func (e Exit) PoweredOff() bool { return e.Reason == "guest-shutdown" }

// String tells the reason, with the message if there is one.
func (e Exit) String() string {
	if e.Message == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Message
}

// startTries bounds the tries when a chosen port was taken in the meantime.
const startTries = 5

// Start runs the machine. Console output is kept in Machine.Serial and copied to
// copies. The machine ends with this process at the latest; ctx bounds the
// start only.
func Start(ctx context.Context, c Config, copies ...io.Writer) (*Machine, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath(Program); err != nil {
		return nil, fmt.Errorf("qemu: %s is missing: install qemu-system-x86 (make deps)", Program)
	}
	accel := Accelerator{Why: "asked for"}
	if !c.ForceTCG {
		accel = DetectAccelerator()
	}
	var err error
	for range startTries {
		var m *Machine
		m, err = start(ctx, &c, accel, copies)
		if err == nil {
			return m, nil
		}
		if !strings.Contains(err.Error(), "host forwarding rule") {
			break
		}
	}
	return nil, err
}

func start(ctx context.Context, c *Config, accel Accelerator, copies []io.Writer) (*Machine, error) {
	// A short path: a Unix socket's has at most 107 bytes.
	dir, err := os.MkdirTemp("", "gozen-")
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	m := &Machine{Serial: newSerial(copies...), Accelerator: accel, dir: dir, done: make(chan struct{})}
	p, err := c.prepare(dir)
	if err == nil {
		m.forwards = p.forwards
		err = freePorts(p.forwards, c.ports())
	}
	var args []string
	if err == nil {
		args, err = c.arguments(accel, p)
	}
	if err == nil {
		err = m.run(args, c.Interactive)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := m.connect(ctx, p.monitor); err != nil {
		m.Kill()
		return nil, fmt.Errorf("qemu: start %s: %w", c, err)
	}
	return m, nil
}

// freePorts chooses ports of 127.0.0.1 that are free now.
func freePorts(forwards map[int]int, ports []int) error {
	for _, port := range ports {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("qemu: find a free port: %w", err)
		}
		// Closed at the end, so that no two are the same.
		defer l.Close()
		forwards[port] = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// run starts the process and its keepers.
func (m *Machine) run(args []string, interactive bool) error {
	cmd := exec.Command(Program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if interactive {
		cmd.Stdin = os.Stdin
	} else {
		// Ctrl-C in the terminal is for the launcher only.
		cmd.SysProcAttr.Setpgid = true
		if m.Input, err = cmd.StdinPipe(); err != nil {
			return fmt.Errorf("qemu: %w", err)
		}
	}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends, so it must
		// last as long as this process.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		m.Serial.fill(console)
		err = cmd.Wait()
		m.finish(err, stderr.String())
		if !interactive {
			return
		}
		restoreTerminal()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	m.process = cmd.Process
	return nil
}

// finish records how the machine ended.
func (m *Machine) finish(err error, stderr string) {
	m.mu.Lock()
	killed, mon := m.killed, m.monitor
	m.mu.Unlock()
	switch {
	case killed:
		m.exit.Reason = "killed"
	case err != nil:
		m.exit = Exit{"failed", fmt.Sprintf("%v: %s", err, strings.TrimSpace(stderr))}
	default:
		if mon != nil {
			// The reader ends with the connection, after the last event.
			for range mon.replies {
			}
			m.exit.Reason = mon.stopReason()
		}
		if m.exit.Reason == "" {
			m.exit = Exit{"failed", "it ended without a reason: " + strings.TrimSpace(stderr)}
		}
	}
	os.RemoveAll(m.dir)
	close(m.done)
}

// connect waits for the monitor to answer, which it does before the machine's
// first instruction.
func (m *Machine) connect(ctx context.Context, socket string) error {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		mon, err := dialMonitor(ctx, socket)
		if err == nil {
			m.mu.Lock()
			m.monitor = mon
			m.mu.Unlock()
			return nil
		}
		select {
		case <-m.done:
			return errors.New(m.exit.Message)
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// Address is where 127.0.0.1 forwards to a port of the machine: APIPort, or one
// of Config.Forward.
func (m *Machine) Address(port int) string {
	return fmt.Sprintf("127.0.0.1:%d", m.forwards[port])
}

// API is the address of the management API.
func (m *Machine) API() string { return m.Address(APIPort) }

// PID is QEMU's process.
func (m *Machine) PID() int { return m.process.Pid }

// Done is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Wait waits for the machine to end.
func (m *Machine) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-m.done:
		return m.exit, nil
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("qemu: the machine still runs: %w", ctx.Err())
	}
}

// PowerButton presses the power button.
func (m *Machine) PowerButton(ctx context.Context) error {
	return m.monitor.command(ctx, "system_powerdown", nil)
}

// Reset presses the reset button.
func (m *Machine) Reset(ctx context.Context) error {
	return m.monitor.command(ctx, "system_reset", nil)
}

// Screenshot writes the display to a PNG file; Config.Graphics is needed.
func (m *Machine) Screenshot(ctx context.Context, file string) error {
	return m.monitor.command(ctx, "screendump", map[string]any{"filename": file, "device": "screen", "format": "png"})
}

// Kill pulls the plug: QEMU is killed, and nothing that it still held back
// reaches a disk. It returns when the machine is gone.
func (m *Machine) Kill() {
	m.mu.Lock()
	m.killed = true
	m.mu.Unlock()
	// An error means that it has ended already.
	_ = m.process.Kill()
	<-m.done
}
