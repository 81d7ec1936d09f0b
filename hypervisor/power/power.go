package power

import (
	"fmt"
	"sync"

	"gozen/hypervisor/platform"
)

// Base and Size are the I/O ports that a Control answers.
const (
	Base = platform.PortSleepControl
	Size = platform.PortGED + gedWidth - Base

	gedWidth = 4
)

// Bits of the sleep control register (ACPI 6.5, 4.8.3.7.1).
const (
	sleepTypeShift = 2
	sleepTypeMask  = 7
	sleepEnable    = 1 << 5
)

// Config is what a Control does.
type Config struct {
	// PowerOff and Reset run on the vCPU that asked. The guest expects not to run on
	// afterwards.
	PowerOff func()
	Reset    func()
	// Raise interrupts the guest at the pin of the Generic Event Device.
	Raise func() error
}

// Control is the power hardware. It implements bus.Handler over Size ports.
type Control struct {
	cfg Config

	mu      sync.Mutex
	pending uint32 // events the guest has not read
}

// New returns a Control without pending events.
func New(cfg Config) *Control { return &Control{cfg: cfg} }

// PressPowerButton presses the power button once.
func (c *Control) PressPowerButton() error {
	c.mu.Lock()
	c.pending |= platform.GEDPowerButton
	c.mu.Unlock()
	if err := c.cfg.Raise(); err != nil {
		return fmt.Errorf("press power button: %w", err)
	}
	return nil
}

// Read implements bus.Handler. The sleep registers read as zero: nothing sleeps
// and wakes. Reading the event register takes the events in the bytes read.
func (c *Control) Read(off uint64, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range p {
		p[i] = 0
		if at := off + uint64(i); at >= platform.PortGED-Base {
			shift := 8 * (at - (platform.PortGED - Base))
			p[i] = byte(c.pending >> shift)
			c.pending &^= 0xff << shift
		}
	}
}

// Write implements bus.Handler. Only byte writes to the sleep control and reset
// registers do anything.
func (c *Control) Write(off uint64, p []byte) {
	if len(p) != 1 {
		return
	}
	v := p[0]
	switch off {
	case platform.PortSleepControl - Base:
		if v&sleepEnable != 0 && v>>sleepTypeShift&sleepTypeMask == platform.SleepTypS5 {
			c.cfg.PowerOff()
		}
	case platform.PortReset - Base:
		if v == platform.ResetValue {
			c.cfg.Reset()
		}
	}
}

// StateVersion is the version of State that Save writes.
const StateVersion = 1

// State is a saved Control.
type State struct {
	Version int    `json:"version"`
	Pending uint32 `json:"pending"`
}

// Save returns the state.
func (c *Control) Save() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return State{StateVersion, c.pending}
}

// Restore takes a saved state. The interrupt that announced pending events is
// part of the I/O APIC's state or of a local APIC's.
func (c *Control) Restore(s State) error {
	if s.Version != StateVersion || s.Pending&^platform.GEDPowerButton != 0 {
		return fmt.Errorf("power control: saved state does not fit: version %d, events %#x", s.Version, s.Pending)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = s.Pending
	return nil
}
