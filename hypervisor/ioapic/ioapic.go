package ioapic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"gozen/hypervisor/platform"
)

// Offsets of the memory-mapped registers (82093AA, 3.1).
const (
	regSelect = 0x00
	regWindow = 0x10
)

// Indirect registers (82093AA, 3.2).
const (
	idxID          = 0x00
	idxVersion     = 0x01
	idxArbitration = 0x02
	idxTable       = 0x10 // two an entry, low half first
)

// version 0x11 has no register for end-of-interrupt.
const version = 0x11 | (platform.IOAPICPins-1)<<16

// Bits of a redirection entry.
const (
	entryVector    = 0xff
	entryDelivery  = 7 << 8
	entryLogical   = 1 << 11
	entryStatus    = 1 << 12 // read-only
	entryPolarity  = 1 << 13
	entryRemoteIRR = 1 << 14 // read-only
	entryLevel     = 1 << 15
	entryMasked    = 1 << 16
	entryDestShift = 56

	entryWritable = entryVector | entryDelivery | entryLogical | entryPolarity | entryLevel | entryMasked |
		0xff<<entryDestShift
)

const idMask = 0x0f << 24

// An IOAPIC is the chip. It implements bus.Handler over platform.IOAPICSize
// bytes.
type IOAPIC struct {
	send func(addr uint64, data uint32) error

	mu      sync.Mutex // guards everything below, and orders calls of send
	sel     uint8
	id      uint32
	entries [platform.IOAPICPins]uint64
	pending [platform.IOAPICPins]bool // an edge came while the pin was masked
	err     error                     // of the last send that a guest's write caused
}

// New returns an I/O APIC with all pins masked. send delivers a message to the
// local APICs: kvm.VM.SignalMSI.
func New(send func(addr uint64, data uint32) error) *IOAPIC {
	a := &IOAPIC{send: send}
	for i := range a.entries {
		a.entries[i] = entryMasked
	}
	return a
}

// Raise is a rising edge at a pin.
func (a *IOAPIC) Raise(pin int) error {
	if pin < 0 || pin >= platform.IOAPICPins {
		return fmt.Errorf("I/O APIC pin %d: there are pins 0 to %d", pin, platform.IOAPICPins-1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[pin] = true
	return a.deliver(pin)
}

// deliver sends a pending interrupt unless the pin is masked.
func (a *IOAPIC) deliver(pin int) error {
	e := a.entries[pin]
	if !a.pending[pin] || e&entryMasked != 0 {
		return nil
	}
	a.pending[pin] = false
	addr, data := message(e)
	if err := a.send(addr, data); err != nil {
		return fmt.Errorf("I/O APIC pin %d: message %#x to %#x: %w", pin, data, addr, err)
	}
	return nil
}

// message composes the MSI that means the same as a redirection entry (Intel SDM
// volume 3, 11.11).
func message(e uint64) (addr uint64, data uint32) {
	addr = platform.LAPICBase | e>>entryDestShift<<12
	if e&entryLogical != 0 {
		addr |= 1 << 2
	}
	return addr, uint32(e & (entryVector | entryDelivery))
}

// Read implements bus.Handler. Registers are 32 bits wide and read as zero at
// any other width.
func (a *IOAPIC) Read(off uint64, p []byte) {
	clear(p)
	if len(p) != 4 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch off {
	case regSelect:
		binary.LittleEndian.PutUint32(p, uint32(a.sel))
	case regWindow:
		binary.LittleEndian.PutUint32(p, a.register())
	}
}

// Write implements bus.Handler. Writes of other than 32 bits are ignored.
func (a *IOAPIC) Write(off uint64, p []byte) {
	if len(p) != 4 {
		return
	}
	v := binary.LittleEndian.Uint32(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch off {
	case regSelect:
		a.sel = uint8(v)
	case regWindow:
		a.setRegister(v)
	}
}

func (a *IOAPIC) register() uint32 {
	switch a.sel {
	case idxID, idxArbitration:
		return a.id
	case idxVersion:
		return version
	}
	if pin, shift, ok := a.selected(); ok {
		return uint32(a.entries[pin] >> shift)
	}
	return 0
}

func (a *IOAPIC) setRegister(v uint32) {
	if a.sel == idxID {
		a.id = v & idMask
		return
	}
	pin, shift, ok := a.selected()
	if !ok {
		return
	}
	mask := uint64(0xffff_ffff) << shift & entryWritable
	a.entries[pin] = a.entries[pin]&^mask | uint64(v)<<shift&mask
	if err := a.deliver(pin); err != nil {
		a.err = err
	}
}

// selected is the redirection entry and the half of it that the window shows.
func (a *IOAPIC) selected() (pin int, shift uint, ok bool) {
	i := int(a.sel) - idxTable
	if i < 0 || i >= 2*platform.IOAPICPins {
		return 0, 0, false
	}
	return i / 2, uint(i%2) * 32, true
}

// Err returns the error of the last interrupt that could not be delivered when
// the guest unmasked its pin, or nil.
func (a *IOAPIC) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// StateVersion is the version of State that Save writes.
const StateVersion = 1

// State is a saved I/O APIC.
type State struct {
	Version int      `json:"version"`
	Select  uint8    `json:"select"`
	ID      uint32   `json:"id"`
	Entries []uint64 `json:"entries"`
	Pending []bool   `json:"pending"`
}

var errState = errors.New("saved state does not fit")

// Save returns the state.
func (a *IOAPIC) Save() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return State{
		Version: StateVersion, Select: a.sel, ID: a.id,
		Entries: append([]uint64(nil), a.entries[:]...),
		Pending: append([]bool(nil), a.pending[:]...),
	}
}

// Restore takes a saved state. Held edges stay held until the guest or Raise
// delivers them.
func (a *IOAPIC) Restore(s State) error {
	if s.Version != StateVersion || len(s.Entries) != platform.IOAPICPins || len(s.Pending) != platform.IOAPICPins {
		return fmt.Errorf("I/O APIC: %w: version %d with %d and %d pins, want version %d with %d", errState,
			s.Version, len(s.Entries), len(s.Pending), StateVersion, platform.IOAPICPins)
	}
	if s.ID&^idMask != 0 {
		return fmt.Errorf("I/O APIC: %w: identifier %#x", errState, s.ID)
	}
	for i, e := range s.Entries {
		if e&^entryWritable != 0 {
			return fmt.Errorf("I/O APIC: %w: entry %d is %#x", errState, i, e)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sel, a.id = s.Select, s.ID
	copy(a.entries[:], s.Entries)
	copy(a.pending[:], s.Pending)
	return nil
}
