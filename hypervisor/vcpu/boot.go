package vcpu

import (
	"encoding/binary"
	"fmt"

	"gozen/hypervisor/kvm"
	"gozen/pvdrivers/guestmem"
)

// Mode is the state in which a processor enters a kernel.
type Mode int

// Values of Mode.
const (
	// Long64 is 64-bit mode with the first 4 GiB mapped to themselves: Linux's
	// 64-bit boot protocol (Documentation/arch/x86/boot.rst).
	Long64 Mode = iota + 1
	// Protected32 is 32-bit protected mode without paging: PVH (Xen's
	// docs/misc/pvh.pandoc).
	Protected32
)

// TablesSize is what an Entry needs of guest memory for Long64, in bytes: the
// descriptor table and six page tables.
const TablesSize = 7 * pageSize

// Entry says how the first processor enters the kernel.
type Entry struct {
	Mode Mode
	IP   uint64 // guest-physical address of the first instruction
	// Arg is handed over in RSI (Long64: the zero page) or EBX (Protected32: the
	// start information).
	Arg uint64
	// Tables is the page-aligned guest-physical address, below 4 GiB, of TablesSize
	// bytes for Long64. The kernel may take them back once it has tables of its own.
	Tables uint64
}

const pageSize = 4096

// Bits of control registers (Intel SDM volume 3, 2.5 and volume 4, 2.1).
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0PG = 1 << 31

	cr4PAE = 1 << 5

	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsReserved = 1 << 1 // always set
)

// Page table entries (Intel SDM volume 3, 4.5).
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteLarge   = 1 << 7
)

// Selectors that the boot protocols ask for.
const (
	selectorCode = 0x10
	selectorData = 0x18
)

// Flat segments of 4 GiB, and the same as entries of a descriptor table (Intel SDM
// volume 3, 3.4.5).
var (
	code64 = kvm.Segment{Limit: 0xffff_ffff, Selector: selectorCode, Type: 0xb, Present: 1, S: 1, L: 1, G: 1}
	code32 = kvm.Segment{Limit: 0xffff_ffff, Selector: selectorCode, Type: 0xb, Present: 1, S: 1, DB: 1, G: 1}
	data32 = kvm.Segment{Limit: 0xffff_ffff, Selector: selectorData, Type: 0x3, Present: 1, S: 1, DB: 1, G: 1}
	// A busy 32-bit task state segment of the least size, which PVH asks for and
	// virtualization hardware wants to see.
	task32 = kvm.Segment{Limit: 0x67, Type: 0xb, Present: 1}

	descriptors = [4]uint64{
		selectorCode / 8: 0x00af_9b00_0000_ffff,
		selectorData / 8: 0x00cf_9300_0000_ffff,
	}
)

// WriteTables writes what the entry needs into guest memory: for Long64 a
// descriptor table and page tables that map the first 4 GiB to themselves in
// pages of 2 MiB; for Protected32 nothing.
func (e Entry) WriteTables(m *guestmem.Memory) error {
	if e.Mode != Long64 {
		return nil
	}
	if e.Tables%pageSize != 0 || e.Tables+TablesSize > 1<<32 {
		return fmt.Errorf("boot tables at %#x: not page-aligned below 4 GiB", e.Tables)
	}
	b, err := m.Slice(e.Tables, TablesSize)
	if err != nil {
		return fmt.Errorf("boot tables: %w", err)
	}
	clear(b)
	put := func(page, index int, v uint64) {
		binary.LittleEndian.PutUint64(b[page*pageSize+8*index:], v)
	}
	for i, d := range descriptors {
		put(0, i, d)
	}
	put(1, 0, e.page(2)|ptePresent|pteWrite)
	for gib := range 4 {
		put(2, gib, e.page(3+gib)|ptePresent|pteWrite)
		for i := range 512 {
			addr := uint64(gib)<<30 | uint64(i)<<21
			put(3+gib, i, addr|ptePresent|pteWrite|pteLarge)
		}
	}
	return nil
}

// page is the address of page n of the tables: 0 is the descriptor table, 1 the
// top-level page table, 2 the next, 3 to 6 the lowest.
func (e Entry) page(n int) uint64 { return e.Tables + uint64(n)*pageSize }

// regs are the general registers at entry.
func (e Entry) regs() kvm.Regs {
	r := kvm.Regs{RIP: e.IP, RFLAGS: rflagsReserved}
	if e.Mode == Long64 {
		r.RSI = e.Arg
	} else {
		r.RBX = e.Arg
	}
	return r
}

// apply changes the special registers from those of a reset to those at entry.
func (e Entry) apply(s *kvm.SRegs) error {
	data := data32
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.TR, s.LDT = task32, kvm.Segment{Unusable: 1}
	s.GDT, s.IDT = kvm.DTable{}, kvm.DTable{}
	s.CR3, s.CR4, s.EFER = 0, 0, 0
	switch e.Mode {
	case Long64:
		s.CS = code64
		s.GDT = kvm.DTable{Base: e.page(0), Limit: uint16(8*len(descriptors) - 1)}
		s.CR0 = cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG
		s.CR3 = e.page(1)
		s.CR4 = cr4PAE
		s.EFER = eferLME | eferLMA
	case Protected32:
		s.CS = code32
		s.CR0 = cr0PE | cr0ET
	default:
		return fmt.Errorf("boot mode %d is unknown", e.Mode)
	}
	return nil
}

// Registers that a firmware would have set (Intel SDM volume 4, 2.1 and volume 3,
// 12.11.2).
const (
	msrMiscEnable  = 0x1a0
	msrMTRRDefType = 0x2ff

	miscFastString = 1 << 0

	mtrrEnable    = 1 << 11
	mtrrWriteBack = 6
)

// Boot makes the paused processor ready to start from power-on: with entry, as
// the first one, which enters the kernel; with nil, as one that waits until the
// first one starts it.
func (v *VCPU) Boot(cpuid []kvm.CPUIDEntry, entry *Entry) error {
	return v.do(func(c *kvm.VCPU) error {
		if err := c.SetCPUID(cpuid); err != nil {
			return err
		}
		misc, err := c.MSRs([]uint32{msrMiscEnable})
		if err != nil {
			return err
		}
		msrs := []kvm.MSR{{Index: msrMTRRDefType, Data: mtrrEnable | mtrrWriteBack}}
		for _, m := range misc {
			m.Data |= miscFastString
			msrs = append(msrs, m)
		}
		if _, err := c.SetMSRs(msrs); err != nil {
			return err
		}
		if entry == nil {
			return c.SetMPState(kvm.MPUninitialized)
		}
		s, err := c.SRegs()
		if err != nil {
			return err
		}
		if err := entry.apply(&s); err != nil {
			return err
		}
		if err := c.SetSRegs(&s); err != nil {
			return err
		}
		r := entry.regs()
		if err := c.SetRegs(&r); err != nil {
			return err
		}
		return c.SetMPState(kvm.MPRunnable)
	})
}
