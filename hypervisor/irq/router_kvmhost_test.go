//go:build kvmhost

package irq_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/irq"
	"gozen/hypervisor/kvm"
	"gozen/hypervisor/platform"
	"gozen/hypervisor/vcpu"
	"gozen/pvdrivers/guestmem"
)

const (
	vector  = 0x40
	address = platform.LAPICBase
)

// guest is a processor in real mode that sleeps, and writes to port 0x10 for
// each interrupt.
type guest struct {
	t   *testing.T
	vm  *kvm.VM
	cpu *kvm.VCPU
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	g := &guest{t: t}
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	g.ok(err)
	sys, err := kvm.Open(fd)
	g.ok(err)
	t.Cleanup(func() { sys.Close() })
	g.vm, err = sys.CreateVM()
	g.ok(err)
	t.Cleanup(func() { g.vm.Close() })
	g.ok(g.vm.EnableSplitIRQChip(platform.IOAPICPins))

	const size = 64 << 10
	memfd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	g.ok(err)
	defer unix.Close(memfd)
	g.ok(unix.Ftruncate(memfd, size))
	memory, err := guestmem.Map(memfd, []guestmem.Region{{Size: size}})
	g.ok(err)
	t.Cleanup(memory.Unmap)
	g.ok(g.vm.SetMemory(0, 0, 0, size, memory.HostAddr(0)))
	put := func(addr uint64, b ...byte) {
		dst, err := memory.Slice(addr, uint64(len(b)))
		g.ok(err)
		copy(dst, b)
	}
	put(0x1000,
		0x66, 0xb9, 0x1b, 0x00, 0x00, 0x00, // mov ecx, 0x1b     IA32_APIC_BASE
		0x0f, 0x32, //                         rdmsr
		0x66, 0x0d, 0x00, 0x0c, 0x00, 0x00, // or  eax, 0xc00    enable, x2APIC
		0x0f, 0x30, //                         wrmsr
		0x66, 0xb9, 0x0f, 0x08, 0x00, 0x00, // mov ecx, 0x80f    spurious vector
		0x66, 0xb8, 0xff, 0x01, 0x00, 0x00, // mov eax, 0x1ff    APIC on
		0x66, 0x31, 0xd2, //                   xor edx, edx
		0x0f, 0x30, //                         wrmsr
		0xfb,       //                         sti
		0xe6, 0x11, //                         out 0x11, al
		0xf4,       //                         1: hlt
		0xeb, 0xfd, //                         jmp 1b
	)
	put(0x3000,
		0xb0, 0x21, //                         mov al, 0x21
		0xe6, 0x10, //                         out 0x10, al
		0x66, 0xb9, 0x0b, 0x08, 0x00, 0x00, // mov ecx, 0x80b    end of interrupt
		0x66, 0x31, 0xc0, //                   xor eax, eax
		0x66, 0x31, 0xd2, //                   xor edx, edx
		0x0f, 0x30, //                         wrmsr
		0xcf, //                               iret
	)
	put(4*vector, 0x00, 0x30, 0x00, 0x00) // 0000:3000

	g.cpu, err = g.vm.CreateVCPU(0)
	g.ok(err)
	t.Cleanup(func() { g.cpu.Close() })
	supported, err := sys.SupportedCPUID()
	g.ok(err)
	g.ok(g.cpu.SetCPUID(vcpu.CPUID(supported, 0, 1)))
	s, err := g.cpu.SRegs()
	g.ok(err)
	s.CS.Base, s.CS.Selector = 0, 0
	g.ok(g.cpu.SetSRegs(&s))
	g.ok(g.cpu.SetRegs(&kvm.Regs{RIP: 0x1000, RSP: 0x7000, RFLAGS: 2}))
	g.port(0x11) // ready
	return g
}

func (g *guest) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// port runs the guest until it writes to a port, which has to be this one.
func (g *guest) port(want uint16) {
	g.t.Helper()
	for {
		err := g.cpu.Run()
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		g.ok(err)
		if r := g.cpu.ExitReason(); r != kvm.ExitIO || g.cpu.IO().Port != want {
			g.t.Fatalf("exit %v, want a write to port %#x", r, want)
		}
		return
	}
}

func signal(t *testing.T, v *irq.Vector) {
	t.Helper()
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	if _, err := unix.Write(v.FD(), one[:]); err != nil {
		t.Fatal(err)
	}
}

func TestVectorInterruptsGuest(t *testing.T) {
	g := newGuest(t)
	r := irq.NewRouter(g.vm)
	v, err := r.NewVector()
	g.ok(err)
	defer v.Close()
	g.ok(v.Program(address, vector))
	for range 3 {
		signal(t, v)
		g.port(0x10)
	}

	// Masked: the signal waits, and comes when it is unmasked.
	g.ok(v.Mask())
	signal(t, v)
	if !v.Pending() {
		t.Error("not pending")
	}
	g.ok(v.Program(address, vector))
	g.port(0x10)
	// It was delivered once, and is not found again.
	g.ok(v.Mask())
	if v.Pending() {
		t.Error("pending after it was delivered")
	}

	// Two vectors of the guest's own choice: the other's message has no effect on
	// this one's.
	w, err := r.NewVector()
	g.ok(err)
	defer w.Close()
	g.ok(w.Program(address, vector))
	signal(t, w)
	g.port(0x10)
	g.ok(w.Close())
	g.ok(v.Program(address, vector))
	signal(t, v)
	g.port(0x10)
}
