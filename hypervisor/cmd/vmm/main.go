// Command vmm runs one guest. dom0 starts it with open descriptors and nothing
// else, as package vmmapi describes: the configuration is descriptor 3, the
// control socket descriptor 4.
//
// It exits with 0 when it has written the Outcome, whatever that says, and with
// 1 when it could not.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/control"
	"gozen/hypervisor/machine"
	"gozen/hypervisor/vmmapi"
)

// shutdownGrace is for how long connections may read what is left for them when
// the guest has ended.
const shutdownGrace = time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vmm:", err)
		os.Exit(1)
	}
}

func run() error {
	configFile := os.NewFile(vmmapi.ConfigFD, "configuration")
	cfg, err := vmmapi.ReadConfig(configFile)
	if err != nil {
		return err
	}
	_ = configFile.Close()
	if cfg.Outcome < vmmapi.FirstFD {
		return fmt.Errorf("configuration: outcome: descriptor %d: lower than %d", cfg.Outcome, vmmapi.FirstFD)
	}
	outcomeFile := os.NewFile(uintptr(cfg.Outcome), "outcome")
	// A crash anywhere, in whatever goroutine, leaves its last words where dom0
	// looks for them: see vmmapi.ReadOutcome.
	if err := debug.SetCrashOutput(outcomeFile, debug.CrashOptions{}); err != nil {
		return fmt.Errorf("outcome file: %w", err)
	}
	tune(cfg.VCPUs)
	outcome := runGuest(cfg)
	return vmmapi.WriteOutcome(outcomeFile, &outcome)
}

// tune sets the Go runtime for a process that allocates little and must not keep
// what it allocated.
func tune(vcpus int) {
	// A vCPU that comes out of the guest needs a P at once. Set explicitly, the
	// number does not follow the CPU limit of the cgroup.
	runtime.GOMAXPROCS(max(vcpus, 1) + spareProcs)
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
}

const (
	spareProcs = 4 // for device goroutines beside the vCPUs
	gcPercent  = 25
	// memoryLimit makes the collector work harder before the heap gets large. The
	// guest's memory is not part of it.
	memoryLimit = 24 << 20 // bytes
)

// runGuest builds the guest, serves its control socket, lets it run, and says
// how it ended.
func runGuest(cfg *vmmapi.Config) vmmapi.Outcome {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)

	ring, err := openRing(cfg)
	if err != nil {
		return startFailed(err)
	}
	output, err := control.NewOutput(ring)
	if err != nil {
		return startFailed(err)
	}
	listener, err := controlListener()
	if err != nil {
		return startFailed(err)
	}
	journal := control.NewJournal()
	m, err := machine.New(cfg, machine.Options{Console: output, Event: journal.Add})
	if err != nil {
		_ = listener.Close()
		return startFailed(err)
	}
	// The kernel file and all that was needed to load it is garbage now.
	debug.FreeOSMemory()
	if err := confine(); err != nil {
		_ = listener.Close()
		return startFailed(errors.Join(err, m.Close()))
	}
	server := control.NewServer(m, output, journal)
	go func() { _ = server.Serve(listener) }()
	go func() {
		<-term
		m.Stop()
	}()

	outcome := m.Run()
	journal.Add(vmmapi.Event{Kind: vmmapi.EventOutcome, Outcome: &outcome})
	journal.Close()
	output.Close()
	_ = listener.Close()
	server.Shutdown(shutdownGrace)
	if err := m.Close(); err != nil {
		// The guest's end stands; this only says that something was wrong besides.
		outcome.Message += fmt.Sprintf(" (closing: %v)", err)
	}
	return outcome
}

func startFailed(err error) vmmapi.Outcome {
	return vmmapi.Outcome{Code: vmmapi.CodeStartFailed, Message: err.Error()}
}

func openRing(cfg *vmmapi.Config) (*vmmapi.Ring, error) {
	f := os.NewFile(uintptr(cfg.Console.Ring), "console ring")
	if f == nil {
		return nil, fmt.Errorf("console ring: no descriptor %d", cfg.Console.Ring)
	}
	ring, err := vmmapi.OpenRing(f)
	if err != nil {
		return nil, fmt.Errorf("console ring: %w", err)
	}
	return ring, nil
}

func controlListener() (*net.UnixListener, error) {
	f := os.NewFile(vmmapi.ControlFD, "control socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("control socket: is a %T", l)
	}
	return ul, nil
}
