package pci

import (
	"encoding/binary"
	"fmt"
	"sync"

	"gozen/hypervisor/bus"
	"gozen/hypervisor/platform"
)

// Window is a range of guest-physical addresses that the host bridge forwards to
// the bus.
type Window struct{ Base, Size uint64 }

// Windows of the platform: BARs may lie in any of them.
var Windows = []Window{
	{platform.PCIWindow32Base, platform.PCIWindow32Size},
	{platform.PCIWindow64Base, platform.PCIWindow64Size},
}

// HostBridge is the identity of slot 0: the generic host bridge that Red Hat
// registered for virtual machines, for which guests have no quirks.
var HostBridge = Identity{Vendor: 0x1b36, Device: 0x0008, SubVendor: 0x1af4, SubsystemDevice: 0x1100, Class: 0x060000}

// Root is the root complex: bus 0, its ECAM range and its functions.
type Root struct {
	mmio *bus.Bus
	mem  memory

	mu        sync.Mutex // guards writes to mem, and everything below
	functions [MaxSlots]*Function
	nextBAR   uint64 // lowest address in the 64-bit window that no BAR was given
}

// NewRoot makes a bus with the host bridge in slot 0 and claims its ECAM range on
// mmio. The machine maps Size bytes at HostAddr read-only at
// platform.ECAMBase.
func NewRoot(mmio *bus.Bus) (*Root, error) {
	mem, err := newMemory(busSize)
	if err != nil {
		return nil, err
	}
	r := &Root{mmio: mmio, mem: mem, nextBAR: platform.PCIWindow64Base}
	// An absent function answers with all ones. Nobody looks at the other functions
	// of a slot whose function 0 is absent or has a single-function header.
	for slot := range MaxSlots {
		binary.LittleEndian.PutUint32(r.page(slot), 0xffff_ffff)
	}
	if err := r.Attach(0, NewFunction("host bridge", HostBridge)); err != nil {
		_ = mem.free()
		return nil, err
	}
	if err := mmio.Add(platform.ECAMBase, busSize, "PCI configuration space", r); err != nil {
		_ = mem.free()
		return nil, err
	}
	return r, nil
}

// HostAddr is where the configuration space of bus 0 starts in this process.
func (r *Root) HostAddr() uintptr { return r.mem.hostAddr() }

// Size is the size of the configuration space of bus 0 in bytes.
func (r *Root) Size() uint64 { return busSize }

// Close frees the configuration space. The guest must be gone.
func (r *Root) Close() error {
	err := r.mmio.Remove(platform.ECAMBase)
	if ferr := r.mem.free(); err == nil {
		err = ferr
	}
	r.mem = nil
	return err
}

// Attach puts a function into a slot and gives its BARs addresses in the 64-bit
// window, in the order of calls, so that a guest built the same way again gets
// the same addresses. Memory decoding is off, as after a reset.
func (r *Root) Attach(slot int, f *Function) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slot < 0 || slot >= MaxSlots {
		return fmt.Errorf("%s: PCI slot %d: there are slots 0 to %d", f.name, slot, MaxSlots-1)
	}
	if other := r.functions[slot]; other != nil {
		return fmt.Errorf("%s: PCI slot %d is taken by %s", f.name, slot, other.name)
	}
	if f.slot >= 0 {
		return fmt.Errorf("%s: already attached in PCI slot %d", f.name, f.slot)
	}
	next := r.nextBAR
	for _, b := range f.bars {
		base := (next + b.Size - 1) &^ (b.Size - 1)
		if !inWindow(base, b.Size) {
			return fmt.Errorf("%s: BAR %d of %#x bytes: PCI memory window is full", f.name, b.Index, b.Size)
		}
		next = base + b.Size
		reg := f.config[regBAR+4*b.Index:]
		binary.LittleEndian.PutUint64(reg, base|binary.LittleEndian.Uint64(reg)&barFlags)
	}
	r.nextBAR = next
	page := r.page(slot)
	copy(page, f.config)
	f.config, f.slot, f.root = page, slot, r
	r.functions[slot] = f
	return nil
}

// Read implements bus.Handler for accesses that the read-only mapping does not
// serve, as when the guest's instruction reads and writes.
func (r *Root) Read(off uint64, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	copy(p, r.mem[off:])
}

// Write implements bus.Handler: a guest's write to configuration space. A write
// that crosses into the next function is dropped.
func (r *Root) Write(off uint64, p []byte) {
	reg := int(off % ConfigSize)
	slot := off / ConfigSize / functionsPerSlot
	if off/ConfigSize%functionsPerSlot != 0 || reg+len(p) > ConfigSize {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.functions[slot]
	if f == nil {
		return
	}
	f.store(reg, p)
	if touches(reg, len(p), regCommand, 2) || touches(reg, len(p), regBAR, 4*numBARs) {
		r.decode()
	}
	for _, h := range f.hooks {
		if touches(reg, len(p), h.off, h.size) {
			h.call(f.config, reg, len(p))
		}
	}
}

// decode brings the bus in line with all command registers and BARs. BARs that
// leave make room before others are placed. One that collides with another stays
// silent until the way is free.
func (r *Root) decode() {
	for _, f := range r.functions {
		if f == nil {
			continue
		}
		for _, b := range f.bars {
			if b.mapped && (!f.decoding() || f.address(b) != b.base) {
				// The range was added by this function, so it is there.
				_ = r.mmio.Remove(b.base)
				b.mapped = false
				b.moved(false)
			}
		}
	}
	for _, f := range r.functions {
		if f == nil || !f.decoding() {
			continue
		}
		for _, b := range f.bars {
			base := f.address(b)
			if b.mapped || !inWindow(base, b.Size) || r.mmio.Add(base, b.Size, f.name, b.Handler) != nil {
				continue
			}
			b.mapped, b.base = true, base
			b.moved(true)
		}
	}
}

func (b *bar) moved(on bool) {
	if b.Moved != nil {
		b.Moved(b.base, on)
	}
}

// page is the configuration space of function 0 of a slot.
func (r *Root) page(slot int) []byte {
	off := slot * functionsPerSlot * ConfigSize
	return r.mem[off : off+ConfigSize : off+ConfigSize]
}

func inWindow(base, size uint64) bool {
	for _, w := range Windows {
		if base >= w.Base && base-w.Base < w.Size && size <= w.Size-(base-w.Base) {
			return true
		}
	}
	return false
}

// touches says whether n bytes at off and m bytes at at have one in common.
func touches(off, n, at, m int) bool { return off < at+m && at < off+n }
