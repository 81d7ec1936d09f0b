package vcpu

import (
	"testing"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/linuxboot"
)

// The state that a reset leaves, as far as it is in the way.
func resetSRegs() kvm.SRegs {
	return kvm.SRegs{
		CS:       kvm.Segment{Base: 0xffff0000, Limit: 0xffff, Selector: 0xf000, Type: 0xb, Present: 1, S: 1},
		CR0:      0x60000010,
		APICBase: 0xfee00900,
	}
}

func TestLongModeEntry(t *testing.T) {
	e := &linuxboot.Entry{Long: true, CR3: 0x9000, RIP: 0x1000200, RSI: 0x7000, GDT: 0x8000, GDTLimit: 31, CS: 0x10, DS: 0x18}
	s := resetSRegs()
	setEntry(&s, e)
	// Linux, Documentation/arch/x86/boot.rst, "64-bit boot protocol": long mode with
	// paging, flat segments by these selectors, interrupts off.
	if s.CS != (kvm.Segment{Limit: 0xffffffff, Selector: 0x10, Type: 0xb, Present: 1, S: 1, L: 1, G: 1}) {
		t.Errorf("cs %+v", s.CS)
	}
	for name, d := range map[string]kvm.Segment{"ds": s.DS, "es": s.ES, "ss": s.SS} {
		if d != (kvm.Segment{Limit: 0xffffffff, Selector: 0x18, Type: 3, Present: 1, S: 1, DB: 1, G: 1}) {
			t.Errorf("%s %+v", name, d)
		}
	}
	if s.CR0&(cr0PE|cr0PG) != cr0PE|cr0PG || s.CR0&0x60000000 != 0 || s.CR3 != 0x9000 || s.CR4 != cr4PAE || s.EFER != eferLME|eferLMA {
		t.Errorf("cr0 %#x cr3 %#x cr4 %#x efer %#x", s.CR0, s.CR3, s.CR4, s.EFER)
	}
	if s.GDT.Base != 0x8000 || s.GDT.Limit != 31 || s.APICBase != 0xfee00900 {
		t.Errorf("gdt %+v apic base %#x", s.GDT, s.APICBase)
	}
	if r := entryRegs(e); r != (kvm.Regs{RIP: 0x1000200, RSI: 0x7000, RFLAGS: 2}) {
		t.Errorf("registers %+v", r)
	}
}

func TestPVHEntry(t *testing.T) {
	e := &linuxboot.Entry{RIP: 0x1000000, RBX: 0x6000, GDT: 0x8000, GDTLimit: 31, CS: 0x10, DS: 0x18}
	s := resetSRegs()
	setEntry(&s, e)
	// Xen, docs/misc/pvh.pandoc: cr0 has PE only (and ET, which is fixed), cr4 is 0,
	// flat 32-bit segments, tr a 32-bit task state segment of base 0 and limit 0x67.
	if s.CR0 != cr0PE|cr0ET || s.CR3 != 0 || s.CR4 != 0 || s.EFER != 0 {
		t.Errorf("cr0 %#x cr3 %#x cr4 %#x efer %#x", s.CR0, s.CR3, s.CR4, s.EFER)
	}
	if s.CS != (kvm.Segment{Limit: 0xffffffff, Selector: 0x10, Type: 0xb, Present: 1, S: 1, DB: 1, G: 1}) {
		t.Errorf("cs %+v", s.CS)
	}
	if s.TR != (kvm.Segment{Limit: 0x67, Type: 0xb, Present: 1}) {
		t.Errorf("tr %+v", s.TR)
	}
	if r := entryRegs(e); r != (kvm.Regs{RIP: 0x1000000, RBX: 0x6000, RFLAGS: 2}) {
		t.Errorf("registers %+v", r)
	}
}

func TestStateLeavesHyperVOut(t *testing.T) {
	got := stateMSRs([]uint32{0x10, 0x40000000, 0x40000118, 0x4b564d01, 0xc0000080})
	if len(got) != 3 || got[0] != 0x10 || got[1] != 0x4b564d01 || got[2] != 0xc0000080 {
		t.Errorf("%#x", got)
	}
}
