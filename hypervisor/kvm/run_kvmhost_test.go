//go:build kvmhost

package kvm_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
)

func TestOpen(t *testing.T) {
	sys := openKVM(t)
	if n, err := sys.CheckExtension(kvm.CapMaxVCPUs); err != nil || n < 254 {
		t.Errorf("KVM_CAP_MAX_VCPUS = %d, %v; gozen-1 has up to 254", n, err)
	}
	cpuid, err := sys.SupportedCPUID()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(cpuid, func(e kvm.CPUIDEntry) bool {
		return e.Function == 0x40000000 && e.EBX == 0x4b4d564b // "KVMK"
	}) {
		t.Error("KVM's signature is not among the supported CPUID leaves")
	}
	list, err := sys.MSRIndexList()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(list, 0x10) || !slices.Contains(list, 0x4b564d01) {
		t.Errorf("time stamp counter or kvmclock is not among %d MSRs", len(list))
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := kvm.Open(fd); err == nil || !strings.Contains(err.Error(), "/dev/kvm") {
		t.Errorf("Open of /dev/null: %v", err)
	}
}

func TestPortAndMMIO(t *testing.T) {
	g := newGuest(t, false,
		0xb0, 0x5a, //             mov al, 0x5a
		0xe6, 0x80, //             out 0x80, al
		0xe4, 0x71, //             in  al, 0x71
		0xbb, 0x00, 0x80, //       mov bx, 0x8000
		0x8e, 0xdb, //             mov ds, bx
		0xa2, 0x00, 0x80, //       mov [0x8000], al     -> 0x88000
		0xa1, 0x02, 0x80, //       mov ax, [0x8002]
		0xe7, 0x82, //             out 0x82, ax
		0xf4, //                   hlt
	)
	g.port(0x80, 0x5a)

	g.run(kvm.ExitIO)
	if e := g.cpu.IO(); !e.In || e.Port != 0x71 || len(e.Data) != 1 {
		t.Fatalf("%+v, want a read of port 0x71", e)
	}
	g.cpu.IO().Data[0] = 0xc3

	g.run(kvm.ExitMMIO)
	if e := g.cpu.MMIO(); !e.Write || e.Addr != 0x88000 || !bytes.Equal(e.Data, []byte{0xc3}) {
		t.Fatalf("%+v, want a write of what the port gave", e)
	}

	g.run(kvm.ExitMMIO)
	if e := g.cpu.MMIO(); e.Write || e.Addr != 0x88002 || len(e.Data) != 2 {
		t.Fatalf("%+v, want a read of two bytes", e)
	}
	copy(g.cpu.MMIO().Data, []byte{0x34, 0x12})

	g.run(kvm.ExitIO)
	if e := g.cpu.IO(); e.In || e.Port != 0x82 || !bytes.Equal(e.Data, []byte{0x34, 0x12}) {
		t.Fatalf("%+v, want a write of what memory gave", e)
	}
	g.run(kvm.ExitHLT)
}

func TestStringIO(t *testing.T) {
	g := newGuest(t, false,
		0xbe, 0x00, 0x20, //       mov si, 0x2000
		0xb9, 0x03, 0x00, //       mov cx, 3
		0xba, 0x90, 0x00, //       mov dx, 0x90
		0xfc,       //             cld
		0xf3, 0x6e, //             rep outsb
		0xf4, //                   hlt
	)
	copy(g.memory[0x2000:], "abc")
	var got []byte
	for len(got) < 3 { // KVM may give them one by one or together
		g.run(kvm.ExitIO)
		e := g.cpu.IO()
		if e.In || e.Port != 0x90 || e.Size != 1 || int(e.Count) != len(e.Data) {
			t.Fatalf("%+v", e)
		}
		got = append(got, e.Data...)
	}
	if string(got) != "abc" {
		t.Errorf("got %q", got)
	}
	g.run(kvm.ExitHLT)
}

func TestReadOnlySlot(t *testing.T) {
	g := newGuest(t, false,
		0xbb, 0x00, 0x10, //       mov bx, 0x1000
		0x8e, 0xdb, //             mov ds, bx           -> 0x10000
		0xa0, 0x04, 0x00, //       mov al, [4]
		0xe6, 0x80, //             out 0x80, al
		0xc6, 0x06, 0x04, 0x00, 0x77, // mov byte [4], 0x77
		0xa0, 0x04, 0x00, //       mov al, [4]
		0xe6, 0x81, //             out 0x81, al
		0xf4, //                   hlt
	)
	rom := mapMemory(t, 4096)
	rom[4] = 0x42
	g.ok(g.vm.SetMemory(1, kvm.MemReadOnly, 0x10000, 4096, hostAddr(rom)))
	g.port(0x80, 0x42) // no exit for the read
	g.run(kvm.ExitMMIO)
	if e := g.cpu.MMIO(); !e.Write || e.Addr != 0x10004 || !bytes.Equal(e.Data, []byte{0x77}) {
		t.Fatalf("%+v", e)
	}
	rom[4] = 0x43 // what the write means is the vmm's to say
	g.port(0x81, 0x43)
	g.run(kvm.ExitHLT)

	// A removed slot is no memory any more.
	g.ok(g.vm.SetMemory(1, 0, 0x10000, 0, 0))
	g.ok(g.cpu.SetRegs(&kvm.Regs{RIP: codeAddr, RFLAGS: 2}))
	g.run(kvm.ExitMMIO)
	if e := g.cpu.MMIO(); e.Write || e.Addr != 0x10004 {
		t.Fatalf("%+v, want a read without memory", e)
	}
}

func TestDirtyLog(t *testing.T) {
	g := newGuest(t, false,
		0xa2, 0x00, 0x50, //       mov [0x5000], al
		0xf4, //                   hlt
	)
	g.ok(g.vm.SetMemory(0, kvm.MemLogDirtyPages, 0, memorySize, hostAddr(g.memory)))
	g.run(kvm.ExitHLT)
	var log [1]uint64
	g.ok(g.vm.DirtyLog(0, log[:]))
	if log[0]&(1<<5) == 0 || log[0]&(1<<6) != 0 {
		t.Errorf("dirty log %#x, want page 5 and not page 6", log[0])
	}
	g.ok(g.vm.DirtyLog(0, log[:]))
	if log[0] != 0 {
		t.Errorf("dirty log %#x after it was read", log[0])
	}

	g.ok(g.vm.EnableManualDirtyLog())
	g.ok(g.cpu.SetRegs(&kvm.Regs{RIP: codeAddr, RFLAGS: 2}))
	g.run(kvm.ExitHLT)
	for range 2 {
		g.ok(g.vm.DirtyLog(0, log[:]))
		if log[0]&(1<<5) == 0 {
			t.Fatalf("dirty log %#x, want page 5 until it is cleared", log[0])
		}
	}
	g.ok(g.vm.ClearDirtyLog(0, 0, memorySize/4096, log[:]))
	g.ok(g.vm.DirtyLog(0, log[:]))
	if log[0] != 0 {
		t.Errorf("dirty log %#x after it was cleared", log[0])
	}
}

func TestRequestExit(t *testing.T) {
	g := newGuest(t, false,
		0x66, 0x41, //             1: inc ecx
		0xeb, 0xfc, //             jmp 1b
	)
	g.cpu.RequestExit()
	for range 3 { // it stays in force
		if err := g.cpu.Run(); !errors.Is(err, unix.EINTR) {
			t.Fatalf("Run after RequestExit: %v", err)
		}
	}
	r, err := g.cpu.Regs()
	g.ok(err)
	if r.RIP != codeAddr || r.RCX != 0 {
		t.Errorf("the guest ran: rip %#x rcx %d", r.RIP, r.RCX)
	}
	if !g.cpu.ExitRequested() {
		t.Error("ExitRequested is false")
	}
	g.cpu.ClearExit()
	if g.cpu.ExitRequested() {
		t.Error("ExitRequested is true after ClearExit")
	}
}

// An exit is completed by the Run that RequestExit turns away.
func TestRequestExitCompletesIO(t *testing.T) {
	g := newGuest(t, false,
		0xe4, 0x71, //             in al, 0x71
		0xf4, //                   hlt
	)
	g.run(kvm.ExitIO)
	g.cpu.IO().Data[0] = 0x99
	g.cpu.RequestExit()
	if err := g.cpu.Run(); !errors.Is(err, unix.EINTR) {
		t.Fatalf("Run: %v", err)
	}
	r, err := g.cpu.Regs()
	g.ok(err)
	if r.RIP != codeAddr+2 || byte(r.RAX) != 0x99 {
		t.Errorf("rip %#x al %#x, want the instruction completed", r.RIP, byte(r.RAX))
	}
}

func TestTripleFault(t *testing.T) {
	g := newGuest(t, false,
		0x0f, 0x01, 0x1e, 0x00, 0x30, // lidt [0x3000]  limit 0
		0xcc, //                         int3
	)
	g.run(kvm.ExitShutdown)
}

func TestExitPathDoesNotAllocate(t *testing.T) {
	g := newGuest(t, false,
		0xe6, 0x10, //             1: out 0x10, al
		0xa2, 0x00, 0x00, //       mov [0], al with ds = 0x8000
		0xeb, 0xf9, //             jmp 1b
	)
	s, err := g.cpu.SRegs()
	g.ok(err)
	s.DS.Base, s.DS.Selector = 0x80000, 0x8000
	g.ok(g.cpu.SetSRegs(&s))
	var ports, writes int
	allocs := testing.AllocsPerRun(200, func() {
		if g.cpu.Run() != nil {
			return
		}
		switch g.cpu.ExitReason() {
		case kvm.ExitIO:
			if e := g.cpu.IO(); e.Port == 0x10 && len(e.Data) == 1 {
				ports++
			}
		case kvm.ExitMMIO:
			if e := g.cpu.MMIO(); e.Addr == 0x80000 && len(e.Data) == 1 {
				writes++
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations an exit", allocs)
	}
	if ports < 90 || writes < 90 {
		t.Errorf("%d port and %d memory exits", ports, writes)
	}
	g.cpu.RequestExit()
	if allocs := testing.AllocsPerRun(100, func() { _ = g.cpu.Run() }); allocs != 0 {
		t.Errorf("%v allocations for EINTR", allocs)
	}
}
