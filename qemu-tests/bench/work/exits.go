package work

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// deadPort is a port that every VMM measured leaves alone. 0xed is Linux's other
	// port for delays (io_delay=0xed), so a write must be harmless everywhere: gokvm,
	// which ends on ports that it does not know, and kvmtool ignore it by an entry of
	// their tables; QEMU's q35 and microvm and Gozen have nothing there.
	deadPort = 0xed

	// pollIRQ is KVM_HC_VAPIC_POLL_IRQ (linux/kvm_para.h), which does nothing. From
	// user mode KVM answers -EPERM to all numbers, after the same exit.
	pollIRQ = 1

	// requestBytes is what Linux's entropy driver asks of the device at once: its
	// buffer is SMP_CACHE_BYTES (drivers/char/hw_random/virtio-rng.c), and the core's
	// is as large. The driver asks again as soon as the buffer is empty, so one read of
	// this size is one request, and reads of 16 bytes would be a request for every
	// four of them.
	requestBytes = 64
)

// Exits measures causes of an exit, each in a loop for about that time, in
// nanoseconds an operation:
//
//	exit.cpuid      CPUID leaf 0
//	exit.hypercall  VMCALL or VMMCALL from user mode, to which KVM answers -EPERM
//	exit.port       a byte to port 0xed, where nobody listens
//	exit.mmio       a virtio device's register that selects feature bits to read
//	exit.doorbell   queue 0 of the entropy device, or another virtio device
//	exit.roundtrip  a request to the entropy device, to the read that waited for it
//
// The registers are of devices that the kernel uses: selecting feature bits is over
// when a driver works, and a doorbell without a new buffer makes the device look
// and find nothing. A virtio device of before 1.0 has its doorbell at a port and no
// register for exit.mmio. Needs root. Do not call it on a host: it writes to ports
// and to devices.
func Exits(window time.Duration) ([]Value, error) {
	runtime.LockOSThread() // permission to write to ports is a thread's
	defer runtime.UnlockOSThread()
	var values []Value
	var errs []error
	take := func(c cost, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.measure, err))
			return
		}
		v, err := unharmed(c, window)
		if err != nil {
			errs = append(errs, err)
			return
		}
		values = append(values, v)
	}
	take(cost{"exit.cpuid", cpuids}, nil)
	intel := isIntel()
	take(cost{"exit.hypercall", func(n int) error { hypercall(n, pollIRQ, intel); return nil }}, tryHypercall(intel))
	take(cost{"exit.port", func(n int) error {
		for range n {
			outb(deadPort, 0)
		}
		return nil
	}}, allowPorts(deadPort, 1))

	device, err := findDevice()
	defer device.close()
	take(cost{"exit.mmio", device.selectFeatures}, errors.Join(err, device.checkRegister()))
	take(cost{"exit.doorbell", device.ring}, err)

	fd, err := openGenerator()
	if err == nil {
		defer unix.Close(fd)
	}
	take(cost{"exit.roundtrip", func(n int) error { return requests(fd, n) }}, err)
	return values, errors.Join(errs...)
}

// unharmed measures c; an access that faults is an error of this measure alone. (A
// port may fault in spite of ioperm: on an emulated processor, under QEMU's q35, it
// does.) The caller has set debug.SetPanicOnFault.
func unharmed(c cost, window time.Duration) (v Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", c.measure, p)
		}
	}()
	return c.value(window)
}

func cpuids(n int) error {
	for range n {
		cpuid(0, 0)
	}
	return nil
}

// isIntel says which of the two hypercall instructions the processor has: the
// vendor is "GenuineIntel", in EBX, EDX and ECX of CPUID leaf 0.
func isIntel() bool {
	_, ebx, ecx, edx := cpuid(0, 0)
	return ebx == 0x756e6547 && edx == 0x49656e69 && ecx == 0x6c65746e
}

// tryHypercall makes one in a child, which dies of it where nobody answers.
func tryHypercall(intel bool) error {
	pid := forkHypercall(new([4]uint64), pollIRQ, intel)
	if pid < 0 {
		return fmt.Errorf("fork: %w", unix.Errno(-pid))
	}
	status, err := wait(pid)
	if err != nil {
		return err
	}
	if status.Signaled() {
		return fmt.Errorf("the instruction raises %v: no hypervisor takes it", status.Signal())
	}
	return nil
}

// allowPorts lets this thread write to ports.
func allowPorts(first, n int) error {
	if err := unix.Ioperm(first, n, 1); err != nil {
		return fmt.Errorf("ioperm(%#x, %d): %w", first, n, err)
	}
	return nil
}

// requests reads as much as n requests bring.
func requests(fd, n int) error {
	var buf [requestBytes]byte
	for left := n * requestBytes; left > 0; {
		got, err := readGenerator(fd, buf[:min(left, requestBytes)])
		if err != nil {
			return err
		}
		left -= got
	}
	return nil
}
