package pci

import (
	"encoding/binary"
	"errors"
	"fmt"

	"gozen/hypervisor/bus"
)

// Identity is what a function says it is.
type Identity struct {
	Vendor, Device             uint16
	SubVendor, SubsystemDevice uint16
	Class                      uint32 // base class, subclass, interface: 0x020000
	Revision                   uint8
}

// BAR is a 64-bit memory base address register.
type BAR struct {
	Index        int    // 0, 2 or 4: a 64-bit BAR takes two registers
	Size         uint64 // bytes, a power of two, at least a page
	Prefetchable bool
	Handler      bus.Handler
	// Moved, if set, is told when the BAR starts (on) or stops to answer at base.
	// It is called with the root complex locked.
	Moved func(base uint64, on bool)
}

// Function is a PCI function with a type 0 header. It is put together before
// Root.Attach and changed by nobody but the guest afterwards.
type Function struct {
	name    string
	config  []byte // ConfigSize bytes: own memory, after Attach the root complex's
	mask    [legacyConfigSize]byte
	bars    []*bar
	hooks   []hook
	lastCap int // offset of the last capability, 0 when none
	nextCap int // where the next one goes
	slot    int // -1 until attached
	root    *Root
}

type bar struct {
	BAR
	mapped bool
	base   uint64 // where it answers while mapped
}

type hook struct {
	off, size int
	call      func(config []byte, off, n int)
}

// NewFunction returns a function without BARs and capabilities. The name is for
// messages.
func NewFunction(name string, id Identity) *Function {
	f := &Function{name: name, config: make([]byte, ConfigSize), nextCap: headerSize, slot: -1}
	le := binary.LittleEndian
	le.PutUint16(f.config[regVendorID:], id.Vendor)
	le.PutUint16(f.config[regDeviceID:], id.Device)
	le.PutUint32(f.config[regRevision:], id.Class<<8|uint32(id.Revision))
	le.PutUint16(f.config[regSubVendorID:], id.SubVendor)
	le.PutUint16(f.config[regSubsystemID:], id.SubsystemDevice)
	le.PutUint16(f.mask[regCommand:], CommandMemory|CommandBusMaster|CommandIntxDisable)
	f.mask[regInterrupt] = 0xff
	return f
}

// AddBAR gives the function a BAR. Root.Attach chooses its first address.
func (f *Function) AddBAR(b BAR) error {
	switch {
	case f.slot >= 0:
		return fmt.Errorf("%s: add BAR %d: function is attached", f.name, b.Index)
	case b.Index < 0 || b.Index+1 >= numBARs || b.Index%2 != 0:
		return fmt.Errorf("%s: BAR %d: a 64-bit BAR has index 0, 2 or 4", f.name, b.Index)
	case b.Size < 0x1000 || b.Size&(b.Size-1) != 0:
		return fmt.Errorf("%s: BAR %d: size %#x is not a power of two of at least a page", f.name, b.Index, b.Size)
	}
	for _, other := range f.bars {
		if other.Index == b.Index {
			return fmt.Errorf("%s: BAR %d is there already", f.name, b.Index)
		}
	}
	flags := uint64(barType64)
	if b.Prefetchable {
		flags |= barPrefetchable
	}
	reg := regBAR + 4*b.Index
	binary.LittleEndian.PutUint64(f.config[reg:], flags)
	binary.LittleEndian.PutUint64(f.mask[reg:], ^(b.Size-1)&^barFlags)
	f.bars = append(f.bars, &bar{BAR: b})
	return nil
}

// AddCapability appends a capability and returns its offset in configuration
// space. body is what follows the identifier and the link; writable has a bit
// set for each bit of body that the guest may change, and may be shorter.
func (f *Function) AddCapability(id uint8, body, writable []byte) (int, error) {
	off := f.nextCap
	end := off + 2 + len(body)
	switch {
	case f.slot >= 0:
		return 0, fmt.Errorf("%s: add capability %#x: function is attached", f.name, id)
	case end > legacyConfigSize:
		return 0, fmt.Errorf("%s: capability %#x: %d bytes do not fit behind offset %#x", f.name, id, 2+len(body), off)
	case len(writable) > len(body):
		return 0, fmt.Errorf("%s: capability %#x: write mask is longer than its body", f.name, id)
	}
	f.config[off] = id
	copy(f.config[off+2:], body)
	copy(f.mask[off+2:], writable)
	if f.lastCap == 0 {
		f.config[regCapabilities] = uint8(off)
		f.config[regStatus] |= statusCapabilities
	} else {
		f.config[f.lastCap+1] = uint8(off)
	}
	f.lastCap = off
	f.nextCap = (end + 3) &^ 3 // 32-bit aligned
	return off, nil
}

// OnWrite calls fn after each guest write that touches any of the size bytes at
// off, with the whole configuration space, which fn may change, and with the
// place and length of the write. It is called with the root complex locked.
func (f *Function) OnWrite(off, size int, fn func(config []byte, off, n int)) error {
	if f.slot >= 0 {
		return fmt.Errorf("%s: watch %#x: function is attached", f.name, off)
	}
	if off < 0 || size <= 0 || size > legacyConfigSize || off > legacyConfigSize-size {
		return fmt.Errorf("%s: watch %#x+%d: outside the writable configuration space", f.name, off, size)
	}
	f.hooks = append(f.hooks, hook{off, size, fn})
	return nil
}

// Slot is the device number on bus 0, or -1 before Attach.
func (f *Function) Slot() int { return f.slot }

// Name is the name given to NewFunction.
func (f *Function) Name() string { return f.name }

// store writes p at off through the write masks, a 32-bit word at a time: the
// guest may read from another vCPU meanwhile, and sees each word whole.
func (f *Function) store(off int, p []byte) {
	for i := 0; i < len(p); {
		at := off + i
		if at >= legacyConfigSize {
			return // the extended configuration space is empty
		}
		word := at &^ 3
		v := binary.LittleEndian.Uint32(f.config[word:])
		for ; i < len(p) && off+i < word+4; i++ {
			shift := 8 * uint(off+i-word)
			mask := uint32(f.mask[off+i]) << shift
			v = v&^mask | uint32(p[i])<<shift&mask
		}
		binary.LittleEndian.PutUint32(f.config[word:], v)
	}
}

// address is what the guest programmed into the BAR.
func (f *Function) address(b *bar) uint64 {
	return binary.LittleEndian.Uint64(f.config[regBAR+4*b.Index:]) &^ barFlags
}

func (f *Function) decoding() bool {
	return binary.LittleEndian.Uint16(f.config[regCommand:])&CommandMemory != 0
}

// errState is wrapped by every error of Restore that is the state's fault.
var errState = errors.New("saved state does not fit")

// check says whether config could be this function's configuration space, that
// is, whether it differs only in what a guest may write.
func (f *Function) check(config []byte) error {
	if len(config) != legacyConfigSize {
		return fmt.Errorf("%s: %w: %d bytes of configuration space, want %d", f.name, errState, len(config), legacyConfigSize)
	}
	for i, m := range f.mask {
		if (config[i]^f.config[i])&^m != 0 {
			return fmt.Errorf("%s: %w: read-only byte %#x is %#x, saved %#x", f.name, errState, i, f.config[i], config[i])
		}
	}
	return nil
}
