//go:build kvmhost

package kvm_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
)

func TestIOEventFD(t *testing.T) {
	g := newGuest(t, false,
		0xb8, 0x34, 0x12, //       mov ax, 0x1234
		0xe7, 0x50, //             out 0x50, ax
		0xb8, 0x35, 0x12, //       mov ax, 0x1235
		0xe7, 0x50, //             out 0x50, ax
		0xbb, 0x00, 0x80, //       mov bx, 0x8000
		0x8e, 0xdb, //             mov ds, bx
		0xa2, 0x00, 0x80, //       mov [0x8000], al     -> 0x88000
		0xa3, 0x00, 0x80, //       mov [0x8000], ax
		0xe6, 0x80, //             out 0x80, al
		0xf4, //                   hlt
	)
	match, memory := eventfd(t), eventfd(t)
	port := kvm.IOEvent{Addr: 0x50, Len: 2, Data: 0x1234, DataMatch: true, Port: true, FD: match}
	anyLen := kvm.IOEvent{Addr: 0x88000, FD: memory}
	g.ok(g.vm.IOEventFD(port, true))
	g.ok(g.vm.IOEventFD(anyLen, true))
	if err := g.vm.IOEventFD(port, true); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the same event twice: %v", err)
	}

	g.run(kvm.ExitIO) // the value that does not match
	if e := g.cpu.IO(); e.Port != 0x50 || e.Data[0] != 0x35 {
		t.Fatalf("%+v", e)
	}
	g.port(0x80, 0x35)
	if n := count(t, match); n != 1 {
		t.Errorf("%d signals for the value", n)
	}
	if n := count(t, memory); n != 2 {
		t.Errorf("%d signals for writes of any length", n)
	}

	g.ok(g.vm.IOEventFD(port, false))
	g.ok(g.vm.IOEventFD(anyLen, false))
	g.ok(g.cpu.SetRegs(&kvm.Regs{RIP: codeAddr, RFLAGS: 2}))
	g.run(kvm.ExitIO)
	if e := g.cpu.IO(); e.Port != 0x50 || e.Data[0] != 0x34 {
		t.Fatalf("%+v, want the write itself after the event was removed", e)
	}
}

// vector is the interrupt that the handler of interruptible serves.
const vector = 0x40

// message is what delivers vector to the processor with APIC identifier 0.
var message = kvm.Route{GSI: 24, Addr: 0xfee00000, Data: vector}

// interruptible is a guest that sleeps, and for each interrupt writes 0x21 to
// port 0x10.
func interruptible(t *testing.T) *guest {
	g := newGuest(t, true,
		0xfb,       //                   sti
		0xf4,       //                   1: hlt
		0xeb, 0xfd, //             jmp 1b
	)
	copy(g.memory[0x3000:], []byte{
		0x50,       //             push ax
		0xb0, 0x21, //             mov al, 0x21
		0xe6, 0x10, //             out 0x10, al
		0x58, //                   pop ax
		0xcf, //                   iret
	})
	copy(g.memory[4*vector:], []byte{0x00, 0x30, 0x00, 0x00}) // 0000:3000
	return g
}

// eoi ends the interrupt in the local APIC, as the guest's handler would.
func (g *guest) eoi() {
	g.t.Helper()
	// The exit must be completed before the APIC is written.
	g.cpu.RequestExit()
	if err := g.cpu.Run(); !errors.Is(err, unix.EINTR) {
		g.t.Fatalf("Run: %v", err)
	}
	g.cpu.ClearExit()
	l, err := g.cpu.LAPIC()
	g.ok(err)
	clear(l.Regs[0x100:0x180]) // in-service register, 8 words 16 bytes apart
	g.ok(g.cpu.SetLAPIC(&l))
}

func TestIRQFD(t *testing.T) {
	g := interruptible(t)
	fd := eventfd(t)
	g.ok(g.vm.SetRouting([]kvm.Route{message}))
	g.ok(g.vm.AssignIRQFD(fd, message.GSI))
	for range 3 {
		signal(t, fd)
		g.port(0x10, 0x21)
		g.eoi()
	}

	// Not connected, a signal stays; connected, KVM delivers it.
	g.ok(g.vm.DeassignIRQFD(fd, message.GSI))
	signal(t, fd)
	if n := count(t, fd); n != 1 {
		t.Errorf("%d signals in the eventfd", n)
	}
	signal(t, fd)
	g.ok(g.vm.AssignIRQFD(fd, message.GSI))
	g.port(0x10, 0x21)
}

func TestSignalMSI(t *testing.T) {
	g := interruptible(t)
	for range 3 {
		g.ok(g.vm.SignalMSI(message.Addr, message.Data))
		g.port(0x10, 0x21)
		g.eoi()
	}
}

func TestNMI(t *testing.T) {
	g := interruptible(t)
	copy(g.memory[4*2:], []byte{0x00, 0x30, 0x00, 0x00}) // vector 2
	g.ok(g.cpu.NMI())
	g.port(0x10, 0x21)
}
