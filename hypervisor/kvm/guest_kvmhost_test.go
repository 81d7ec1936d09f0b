//go:build kvmhost

package kvm_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
)

const (
	memorySize = 64 << 10
	codeAddr   = 0x1000
	stackAddr  = 0x7000
)

// guest is a VM with 64 KiB of memory at 0 and one processor in real mode.
type guest struct {
	t      *testing.T
	sys    *kvm.System
	vm     *kvm.VM
	cpu    *kvm.VCPU
	memory []byte
}

func openKVM(t *testing.T) *kvm.System {
	t.Helper()
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/kvm: %v", err)
	}
	sys, err := kvm.Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close() })
	return sys
}

// newGuest makes a guest that runs code in real mode at codeAddr. With apic, its
// local APIC is in the kernel and on; without, HLT is an exit.
func newGuest(t *testing.T, apic bool, code ...byte) *guest {
	t.Helper()
	g := &guest{t: t, sys: openKVM(t)}
	var err error
	if g.vm, err = g.sys.CreateVM(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.vm.Close() })
	g.memory = mapMemory(t, memorySize)
	if err := g.vm.SetMemory(0, 0, 0, memorySize, hostAddr(g.memory)); err != nil {
		t.Fatal(err)
	}
	if apic {
		if err := g.vm.EnableSplitIRQChip(8); err != nil {
			t.Fatal(err)
		}
	}
	if g.cpu, err = g.vm.CreateVCPU(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.cpu.Close() })
	copy(g.memory[codeAddr:], code)
	s, err := g.cpu.SRegs()
	g.ok(err)
	s.CS.Base, s.CS.Selector = 0, 0
	g.ok(g.cpu.SetSRegs(&s))
	g.ok(g.cpu.SetRegs(&kvm.Regs{RIP: codeAddr, RSP: stackAddr, RFLAGS: 2}))
	if apic {
		l, err := g.cpu.LAPIC()
		g.ok(err)
		// Spurious interrupt vector register, with the APIC's enable bit (Intel SDM
		// volume 3, 12.9).
		binary.LittleEndian.PutUint32(l.Regs[0xf0:], 0x1ff)
		g.ok(g.cpu.SetLAPIC(&l))
	}
	return g
}

func mapMemory(t *testing.T, size int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

func (g *guest) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// run enters the guest until it exits with the reason wanted, and fails for any
// other.
func (g *guest) run(want kvm.ExitReason) {
	g.t.Helper()
	for {
		err := g.cpu.Run()
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		g.ok(err)
		if got := g.cpu.ExitReason(); got != want {
			r, _ := g.cpu.Regs()
			g.t.Fatalf("exit %v at rip %#x, want %v", got, r.RIP, want)
		}
		return
	}
}

// port expects a port write of one byte.
func (g *guest) port(port uint16, want byte) {
	g.t.Helper()
	g.run(kvm.ExitIO)
	e := g.cpu.IO()
	if e.In || e.Port != port || e.Size != 1 || e.Count != 1 || e.Data[0] != want {
		g.t.Fatalf("port access %+v, want a write of %#x to port %#x", e, want, port)
	}
}

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// count takes the signals out of an eventfd.
func count(t *testing.T, fd int) uint64 {
	t.Helper()
	var b [8]byte
	_, err := unix.Read(fd, b[:])
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

func signal(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
}
