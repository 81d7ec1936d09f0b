package vmmhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/vmmapi"
)

// Guest is a running or ended guest.
type Guest struct {
	Console *net.UnixConn // both ways, from the guest's first byte on
	Events  *vmmapi.EventStream
	Control *vmmapi.Client
	Started time.Time // just before the vmm was started
	PID     int

	dir     string
	cfg     config
	outcome *os.File
	cmd     *exec.Cmd
	exited  chan struct{}
	err     error // valid when exited is closed
}

// Start starts a vmm. ctx bounds the start only; Close ends the guest and frees
// everything.
func Start(ctx context.Context, o Options) (_ *Guest, err error) {
	dir, err := os.MkdirTemp("", "vmmhost-")
	if err != nil {
		return nil, err
	}
	g := &Guest{dir: dir, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if err := g.configure(o); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "control.sock")
	if err := g.start(o, socket); err != nil {
		return nil, err
	}
	// A vmm that has ended refuses.
	if g.Control, err = vmmapi.Dial(ctx, socket); err != nil {
		return nil, err
	}
	if g.Console, err = g.Control.Console(ctx); err != nil {
		return nil, err
	}
	if g.Events, err = g.Control.Events(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Guest) start(o Options, socket string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	// From here on only the vmm listens: a connection after its end is refused.
	defer l.Close()
	l.SetUnlinkOnClose(false)
	control, err := l.File()
	if err != nil {
		return err
	}
	defer control.Close()
	sealed, err := vmmapi.SealedConfig(&g.cfg.Config)
	if err != nil {
		return err
	}
	defer sealed.Close()
	cmd := exec.Command(o.VMM)
	cmd.ExtraFiles = append([]*os.File{sealed, control}, g.cfg.files...)
	if o.Errors != nil {
		cmd.Stdout, cmd.Stderr = o.Errors, o.Errors
	}
	g.Started = time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	g.cmd, g.PID = cmd, cmd.Process.Pid
	go func() {
		g.err = cmd.Wait()
		close(g.exited)
	}()
	return nil
}

// Exited is closed when the vmm has ended.
func (g *Guest) Exited() <-chan struct{} { return g.exited }

// Stop asks the vmm to end the guest at once.
func (g *Guest) Stop() { _ = g.cmd.Process.Signal(unix.SIGTERM) }

// State is that of the ended vmm process.
func (g *Guest) State() *os.ProcessState { return g.cmd.ProcessState }

// Outcome waits for the vmm's end and returns how its guest ended.
func (g *Guest) Outcome() (*vmmapi.Outcome, error) {
	<-g.exited
	var exit *exec.ExitError
	if g.err != nil && !errors.As(g.err, &exit) {
		return nil, g.err
	}
	if _, err := g.outcome.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	outcome, err := vmmapi.ReadOutcome(g.outcome)
	if err == nil && outcome == nil {
		err = fmt.Errorf("the vmm left no outcome (%v)", g.cmd.ProcessState)
	}
	return outcome, err
}

// Close kills the guest if it runs and frees everything.
func (g *Guest) Close() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		<-g.exited
	}
	if g.Events != nil {
		_ = g.Events.Close()
	}
	if g.Console != nil {
		_ = g.Console.Close()
	}
	if g.Control != nil {
		_ = g.Control.Close()
	}
	g.cfg.close()
	_ = os.RemoveAll(g.dir)
}
