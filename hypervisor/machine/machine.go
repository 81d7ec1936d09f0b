package machine

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"gozen/hypervisor/bus"
	"gozen/hypervisor/ioapic"
	"gozen/hypervisor/irq"
	"gozen/hypervisor/kvm"
	"gozen/hypervisor/legacy"
	"gozen/hypervisor/pci"
	"gozen/hypervisor/platform"
	"gozen/hypervisor/power"
	"gozen/hypervisor/vcpu"
	"gozen/hypervisor/virtiopci"
	"gozen/hypervisor/vmmapi"
	"gozen/pvdrivers/console"
	"gozen/pvdrivers/guestmem"
)

// Options are where a machine's words go.
type Options struct {
	// Console takes the guest's console output. It must not wait for anybody who
	// reads it. It is written by several goroutines.
	Console io.Writer
	// Event is called for each event but EventOutcome, from any goroutine, also a
	// vCPU's thread. It must not block and must not call the Machine.
	Event func(vmmapi.Event)
}

// Machine is a guest. Its methods may be used from many goroutines; Run and
// Close belong to the one that called New.
type Machine struct {
	cfg  *vmmapi.Config
	opts Options

	system *kvm.System
	vm     *kvm.VM
	memory *guestmem.Memory

	ports, mmio *bus.Bus
	router      *irq.Router
	ioapic      *ioapic.IOAPIC
	power       *power.Control
	root        *pci.Root
	transports  []*virtiopci.Transport
	serial      *legacy.Serial // nil when not asked for
	console     *console.Device
	vcpus       []*vcpu.VCPU

	ending  *ending
	running atomic.Bool

	opened      sync.Once // the console
	exitsAtOpen atomic.Uint64
	undo        []func() error // what New has built, in order
}

// New builds the machine that cfg describes, paused, and takes over all of its
// descriptors but the console ring and the outcome. On an error everything is
// undone.
func New(cfg *vmmapi.Config, opts Options) (_ *Machine, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, opts: opts, ports: bus.New(), mmio: bus.New(), ending: newEnding()}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	for _, step := range []func() error{m.createVM, m.addPlatform, m.addDevices, m.addVCPUs, m.boot} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// event passes an event on.
func (m *Machine) event(e vmmapi.Event) { m.opts.Event(e) }

// onClose adds something to be undone by Close.
func (m *Machine) onClose(f func() error) { m.undo = append(m.undo, f) }

// createVM makes the VM with its memory and interrupt controllers.
func (m *Machine) createVM() error {
	var err error
	if m.system, err = kvm.Open(m.cfg.KVM); err != nil {
		return err
	}
	m.onClose(m.system.Close)
	if m.vm, err = m.system.CreateVM(); err != nil {
		return err
	}
	m.onClose(m.vm.Close)
	// Only Intel processors need these, and none is hurt by them.
	if err := m.vm.SetIdentityMapAddr(platform.KVMIdentityMap); err != nil {
		return err
	}
	if err := m.vm.SetTSSAddr(platform.KVMTSS); err != nil {
		return err
	}
	if m.memory, err = mapMemory(m.vm, m.cfg.Memory, m.cfg.MemoryBytes); err != nil {
		return err
	}
	m.onClose(func() error { m.memory.Unmap(); return nil })
	if err := m.vm.EnableSplitIRQChip(platform.IOAPICPins); err != nil {
		return err
	}
	m.router = irq.NewRouter(m.vm)
	return nil
}

// State is "starting" until the first vCPU runs.
func (m *Machine) State() string {
	if m.running.Load() {
		return "running"
	}
	return "starting"
}

// PressPowerButton presses the ACPI power button.
func (m *Machine) PressPowerButton() error { return m.power.PressPowerButton() }

// ConsoleInput gives the guest what was typed. It waits while the guest has no
// room for it, until ctx ends or the machine is closed.
func (m *Machine) ConsoleInput(ctx context.Context, p []byte) error {
	_, err := m.console.WriteInput(ctx, p)
	return err
}

// Resize tells the guest the terminal's size in characters.
func (m *Machine) Resize(columns, rows uint16) { m.console.Resize(columns, rows) }

// Run lets the guest run until it ends, stops it and its devices, and returns
// how it ended, with the last counters. It is called once.
func (m *Machine) Run() vmmapi.Outcome {
	for _, v := range m.vcpus {
		v.Resume()
	}
	if m.running.CompareAndSwap(false, true) {
		m.event(vmmapi.Event{Kind: vmmapi.EventRunning})
	}
	<-m.ending.seen
	for _, v := range m.vcpus {
		v.RequestStop()
	}
	for _, v := range m.vcpus {
		v.Stop()
	}
	for _, t := range m.transports {
		t.Pause()
	}
	o := m.ending.outcome
	o.Stats = m.Stats()
	return o
}

// Close takes the machine apart, in the reverse order of New. The guest must not
// be running: either Run has returned or was never called.
func (m *Machine) Close() error {
	var errs []error
	for i := len(m.undo) - 1; i >= 0; i-- {
		errs = append(errs, m.undo[i]())
	}
	m.undo = nil
	return errors.Join(errs...)
}
