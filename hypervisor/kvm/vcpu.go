package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// VCPU is a processor of a VM.
//
// Run and everything that reads or writes registers belongs to one thread, the
// same for the vCPU's whole life: KVM loads a vCPU's state onto the processor
// that its thread runs on. RequestExit may be called from any thread.
type VCPU struct {
	fd        int
	id        int
	run       runMap
	xsaveSize int
}

// ID is the number that CreateVCPU was given.
func (c *VCPU) ID() int { return c.id }

// Close frees the vCPU's descriptor and run page. Nothing of c may be used
// afterwards, RequestExit included.
func (c *VCPU) Close() error {
	err := unix.Munmap(c.run.bytes)
	if cerr := unix.Close(c.fd); err == nil {
		err = cerr
	}
	c.run = runMap{}
	return err
}

// EnableCap turns an extension on for this vCPU.
func (c *VCPU) EnableCap(ext Cap, args ...uint64) error {
	e := enableCap{Cap: uint32(ext)}
	copy(e.Args[:], args)
	if _, err := ioctlPtr(c.fd, ioctlEnableCap, "KVM_ENABLE_CAP", &e); err != nil {
		return fmt.Errorf("vcpu %d: %v: %w", c.id, ext, err)
	}
	return nil
}

// PreFault maps guest-physical memory into the guest's page tables before the
// guest touches it, which saves it an exit a page (KVM_PRE_FAULT_MEMORY). It
// makes the memory resident. Without CapPreFaultMemory it does nothing.
func (c *VCPU) PreFault(gpa, size uint64) error {
	r := preFaultMemory{Gpa: gpa, Size: size}
	for r.Size > 0 { // the kernel moves gpa on by what it has done
		_, err := ioctlPtr(c.fd, ioctlPreFaultMemory, "KVM_PRE_FAULT_MEMORY", &r)
		switch {
		case errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP):
			return nil
		case err != nil:
			return fmt.Errorf("vcpu %d: %#x+%#x: %w", c.id, r.Gpa, r.Size, err)
		}
	}
	return nil
}

// Run enters the guest (KVM_RUN) and returns when it comes out: nil when
// ExitReason says why, otherwise the plain unix.Errno. EINTR is a signal or a
// RequestExit, EAGAIN a vCPU that waits to be started; both are the caller's to
// handle. Nothing is allocated.
//
// What an exit asked for (a port read's data, the end of a write) is completed
// by the next Run: before registers are saved, Run once with RequestExit.
func (c *VCPU) Run() error {
	if errno := runOnce(c.fd); errno != 0 {
		return errno
	}
	return nil
}

// RequestExit makes the present or next Run return with EINTR without entering
// the guest, until ClearExit. It does not interrupt a guest that is running: send
// the thread a signal after it.
func (c *VCPU) RequestExit() { c.run.setImmediateExit(1) }

// ClearExit takes RequestExit back.
func (c *VCPU) ClearExit() { c.run.setImmediateExit(0) }

// ExitRequested says whether RequestExit is in force.
func (c *VCPU) ExitRequested() bool { return c.run.immediateExit() != 0 }

// ExitReason is why the last Run returned nil.
func (c *VCPU) ExitReason() ExitReason { return ExitReason(c.run.page.ExitReason) }

// IOExit is the guest's port access (ExitIO): Count accesses of Size bytes to
// the same port, one after the other in Data. For a read the caller fills Data.
type IOExit struct {
	Port  uint16
	Size  uint8 // 1, 2 or 4 bytes
	Count uint32
	In    bool   // the guest reads
	Data  []byte // Size*Count bytes in the run page, valid until the next Run
}

// IO describes an ExitIO.
func (c *VCPU) IO() IOExit {
	e := union[runIO](c.run)
	n := uint64(e.Size) * uint64(e.Count)
	return IOExit{
		Port: e.Port, Size: e.Size, Count: e.Count, In: e.Direction == ioIn,
		Data: c.run.bytes[e.DataOffset : e.DataOffset+n : e.DataOffset+n],
	}
}

// MMIOExit is the guest's access to an address without memory, or its write to a
// MemReadOnly slot (ExitMMIO). For a read the caller fills Data.
type MMIOExit struct {
	Addr  uint64 // guest-physical
	Write bool
	Data  []byte // 1 to 8 bytes in the run page, valid until the next Run
}

// MMIO describes an ExitMMIO.
func (c *VCPU) MMIO() MMIOExit {
	e := union[runMMIO](c.run)
	n := min(int(e.Len), len(e.Data))
	return MMIOExit{Addr: e.PhysAddr, Write: e.IsWrite != 0, Data: e.Data[:n:n]}
}

// InternalError is KVM giving up on the guest (ExitInternalError).
type InternalError struct {
	Suberror    uint32 // InternalError… constant
	Data        []uint64
	Instruction []byte // the bytes that could not be emulated, when known
}

// InternalError describes an ExitInternalError.
func (c *VCPU) InternalError() InternalError {
	e := union[runInternal](c.run)
	out := InternalError{Suberror: e.Suberror}
	out.Data = append(out.Data, e.Data[:min(int(e.Ndata), len(e.Data))]...)
	if e.Suberror == InternalErrorEmulation && e.Ndata >= 1 {
		m := union[runEmulationFailure](c.run)
		if m.Flags&emulationFlagInstruction != 0 {
			out.Instruction = append(out.Instruction, m.InsnBytes[:min(int(m.InsnSize), len(m.InsnBytes))]...)
		}
	}
	return out
}

func (e InternalError) String() string {
	kind := "suberror"
	switch e.Suberror {
	case InternalErrorEmulation:
		kind = "an instruction that KVM cannot emulate"
	case InternalErrorSimulEx:
		kind = "simultaneous exceptions"
	case InternalErrorDeliveryEv:
		kind = "an exit while an event was delivered"
	case InternalErrorUnexpected:
		kind = "an unexpected exit of the processor"
	}
	s := fmt.Sprintf("KVM internal error %d: %s", e.Suberror, kind)
	if e.Instruction != nil {
		return s + fmt.Sprintf(", instruction % x", e.Instruction)
	}
	return s + fmt.Sprintf(", data %#x", e.Data)
}

// FailEntry returns the processor's own reason for refusing to enter the guest
// (ExitFailEntry), and the host processor that did.
func (c *VCPU) FailEntry() (reason uint64, cpu uint32) {
	e := union[runFailEntry](c.run)
	return e.HardwareEntryFailureReason, e.CPU
}

// HardwareExitReason is the processor's own exit reason of an ExitUnknown.
func (c *VCPU) HardwareExitReason() uint64 { return union[runHardware](c.run).HardwareExitReason }

// SystemEvent returns which SystemEvent… an ExitSystemEvent is.
func (c *VCPU) SystemEvent() uint32 { return union[runSystemEvent](c.run).Type }

// IOAPICEOI is the vector that the guest ended, of an ExitIOAPICEOI.
func (c *VCPU) IOAPICEOI() uint8 { return union[runEOI](c.run).Vector }

// MemoryFault returns the guest-physical range of an ExitMemoryFault.
func (c *VCPU) MemoryFault() (gpa, size uint64) {
	e := union[runMemoryFault](c.run)
	return e.Gpa, e.Size
}

// Stats opens the kernel's counters of this vCPU.
func (c *VCPU) Stats() (*Stats, error) { return openStats(c.fd) }
