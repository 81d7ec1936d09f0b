//go:build kvmhost

package kvm_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
)

// roundTrip sets what was got after change has changed it, and gets it again.
func roundTrip[T comparable](g *guest, name string, get func() (T, error), set func(*T) error, change func(*T)) {
	g.t.Helper()
	v, err := get()
	g.ok(err)
	change(&v)
	g.ok(set(&v))
	again, err := get()
	g.ok(err)
	if again != v {
		g.t.Errorf("%s: set %+v, got %+v", name, v, again)
	}
}

func TestRegistersRoundTrip(t *testing.T) {
	g := newGuest(t, true, 0xf4)
	c := g.cpu
	cpuid, err := g.sys.SupportedCPUID()
	g.ok(err)
	g.ok(c.SetCPUID(cpuid))
	roundTrip(g, "regs", c.Regs, c.SetRegs, func(r *kvm.Regs) { r.R15 = 0x1122334455667788; r.RAX = 1 })
	roundTrip(g, "sregs", c.SRegs, c.SetSRegs, func(s *kvm.SRegs) { s.CR2 = 0x1234; s.GDT.Limit = 0x37 })
	roundTrip(g, "sregs2", c.SRegs2, c.SetSRegs2, func(s *kvm.SRegs2) { s.CR2 = 0x4321; s.IDT.Base = 0x5000 })
	roundTrip(g, "fpu", c.FPU, c.SetFPU, func(f *kvm.FPU) { f.XMM[15][3] = 7; f.FCW = 0x27f })
	roundTrip(g, "xcrs", c.XCRs, c.SetXCRs, func(x *kvm.XCRs) { x.Xcrs[0].Value = 3 })
	roundTrip(g, "debugregs", c.DebugRegs, c.SetDebugRegs, func(d *kvm.DebugRegs) { d.DB[1] = 0xabc })
	roundTrip(g, "lapic", c.LAPIC, c.SetLAPIC, func(l *kvm.LAPIC) {
		l.Regs[0x80], l.Regs[0xa0] = 0x20, 0x20 // task priority, from which processor priority follows
	})
	roundTrip(g, "events", c.Events, c.SetEvents, func(e *kvm.Events) { e.NMIMasked = 1 })

	x, err := c.XSave()
	g.ok(err)
	x[512] |= 3   // state-component bitmap: x87 and SSE are in use
	x[160] = 0x55 // XMM0
	x[415] = 0xaa // last byte of XMM15
	g.ok(c.SetXSave(x))
	again, err := c.XSave()
	g.ok(err)
	if !bytes.Equal(again, x) {
		t.Error("extended state changed on its way through KVM")
	}
	f, err := c.FPU()
	g.ok(err)
	if f.XMM[0][0] != 0x55 || f.XMM[15][15] != 0xaa {
		t.Errorf("XMM0 is % x, XMM15 % x", f.XMM[0], f.XMM[15])
	}
	if err := c.SetXSave(x[:100]); err == nil {
		t.Error("extended state of 100 bytes was taken")
	}

	for _, s := range []kvm.MPState{kvm.MPHalted, kvm.MPUninitialized, kvm.MPRunnable} {
		g.ok(c.SetMPState(s))
		if got, err := c.MPState(); err != nil || got != s {
			t.Errorf("MP state %d, %v, want %d", got, err, s)
		}
	}

	got, err := c.CPUID()
	g.ok(err)
	if len(got) != len(cpuid) {
		t.Errorf("%d CPUID leaves, set %d", len(got), len(cpuid))
	}
	if khz, err := c.TSCKHz(); err != nil || khz <= 0 {
		t.Errorf("TSC frequency %d kHz, %v", khz, err)
	} else {
		g.ok(c.SetTSCKHz(khz))
	}
	if tr, err := c.Translate(0x1234); err != nil || tr.Valid != 1 || tr.PhysicalAddress != 0x1234 {
		t.Errorf("translation without paging: %+v, %v", tr, err)
	}
	g.ok(c.ClockPaused())
}

func TestMSRs(t *testing.T) {
	g := newGuest(t, true, 0xf4)
	cpuid, err := g.sys.SupportedCPUID()
	g.ok(err)
	g.ok(g.cpu.SetCPUID(cpuid))

	const tscAux, mtrrDefType, none = 0xc0000103, 0x2ff, 0x1_0000
	n, err := g.cpu.SetMSRs([]kvm.MSR{{Index: mtrrDefType, Data: 0xc06}, {Index: none, Data: 1}, {Index: mtrrDefType, Data: 0}})
	if n != 1 || !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "0x10000") {
		t.Errorf("SetMSRs: %d, %v; want it to stop at the second", n, err)
	}
	got, err := g.cpu.MSRs([]uint32{none, mtrrDefType, none, none})
	g.ok(err)
	if len(got) != 1 || got[0].Index != mtrrDefType || got[0].Data != 0xc06 {
		t.Errorf("MSRs: %+v", got)
	}

	list, err := g.sys.MSRIndexList()
	g.ok(err)
	all, err := g.cpu.MSRs(list)
	g.ok(err)
	if len(all) < 20 || len(all) > len(list) {
		t.Errorf("%d of %d registers could be read", len(all), len(list))
	}
}

func TestMachineCheckBanks(t *testing.T) {
	g := newGuest(t, true, 0xf4)
	const mcgCap = 0x179
	g.ok(g.cpu.SetMachineCheckBanks(2))
	got, err := g.cpu.MSRs([]uint32{mcgCap})
	g.ok(err)
	if len(got) != 1 || got[0].Data != 2 {
		t.Errorf("IA32_MCG_CAP: %+v, want 2 banks and nothing else", got)
	}
	for _, n := range []uint8{0, 33} {
		if err := g.cpu.SetMachineCheckBanks(n); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%d banks: %v, want EINVAL", n, err)
		}
	}
}

func TestClock(t *testing.T) {
	g := newGuest(t, true, 0xf4)
	const second = 1_000_000_000
	g.ok(g.vm.SetClock(kvm.ClockData{Clock: 5000 * second}))
	c, err := g.vm.Clock()
	g.ok(err)
	if c.Clock < 5000*second {
		t.Errorf("clock %d went back", c.Clock)
	}
	again, err := g.vm.Clock()
	g.ok(err)
	if again.Clock < c.Clock {
		t.Errorf("clock went from %d back to %d", c.Clock, again.Clock)
	}
}

func TestStats(t *testing.T) {
	g := newGuest(t, false,
		0xe6, 0x10, //             1: out 0x10, al
		0xeb, 0xfc, //             jmp 1b
	)
	s, err := g.cpu.Stats()
	g.ok(err)
	defer s.Close()
	before, err := s.Value("exits")
	g.ok(err)
	const n = 10
	for range n {
		g.port(0x10, 0)
	}
	after, err := s.Value("exits")
	g.ok(err)
	if after < before+n-1 {
		t.Errorf("exits went from %d to %d over %d port writes", before, after, n)
	}
	sum := map[string]uint64{"exits": 1}
	g.ok(s.AddTo(sum))
	if sum["exits"] != after+1 {
		t.Errorf("sum of exits %d, want %d", sum["exits"], after+1)
	}
	if _, err := s.Value("no such counter"); err == nil {
		t.Error("a counter that does not exist has a value")
	}
	vm, err := g.vm.Stats()
	g.ok(err)
	defer vm.Close()
	if err := vm.AddTo(map[string]uint64{}); err != nil {
		t.Error(err)
	}
}

// Memory that was mapped beforehand costs the guest no exit.
func TestPreFault(t *testing.T) {
	// Touches one byte a page from 0x2000 to 0xf000.
	code := []byte{
		0xbb, 0x00, 0x20, //       mov bx, 0x2000
		0x88, 0x07, //             1: mov [bx], al
		0x81, 0xc3, 0x00, 0x10, // add bx, 0x1000
		0x81, 0xfb, 0x00, 0xf0, // cmp bx, 0xf000
		0x75, 0xf4, //             jne 1b
		0xf4, //                   hlt
	}
	exits := func(preFault bool) uint64 {
		g := newGuest(t, false, code...)
		// Without huge pages, so that a page is a page.
		g.ok(unix.Madvise(g.memory, unix.MADV_NOHUGEPAGE))
		if preFault {
			g.ok(g.cpu.PreFault(0, memorySize))
		}
		s, err := g.cpu.Stats()
		g.ok(err)
		defer s.Close()
		g.run(kvm.ExitHLT)
		n, err := s.Value("exits")
		g.ok(err)
		return n
	}
	if with, without := exits(true), exits(false); with+10 > without {
		t.Errorf("%d exits with memory mapped beforehand, %d without", with, without)
	}
}
