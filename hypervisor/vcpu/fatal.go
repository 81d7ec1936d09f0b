package vcpu

import (
	"fmt"

	"gozen/hypervisor/kvm"
)

// FatalKind says why a guest cannot go on.
type FatalKind int

// Values of FatalKind.
const (
	FatalTripleFault FatalKind = iota + 1 // the processor shut down: an exception that could not be delivered
	FatalInternal                         // KVM gave up
	FatalEntry                            // the host's processor refused the guest's state
	FatalSystemEvent                      // the guest said by a paravirtual way that it crashed or ends
	FatalExit                             // an exit that this platform does not have
	FatalRun                              // KVM_RUN itself failed
)

// FatalError says why a guest cannot go on, with the processor's registers.
type FatalError struct {
	Index  int
	Kind   FatalKind
	What   string
	Regs   kvm.Regs
	SRegs  kvm.SRegs
	noRegs error // why the registers could not be read
}

func (e *FatalError) Error() string {
	s := fmt.Sprintf("vcpu %d: %s", e.Index, e.What)
	if e.noRegs != nil {
		return s + fmt.Sprintf(" (registers unknown: %v)", e.noRegs)
	}
	return s + fmt.Sprintf(" (rip %#x rsp %#x rflags %#x cs %#x cr0 %#x cr2 %#x cr3 %#x cr4 %#x efer %#x)",
		e.Regs.RIP, e.Regs.RSP, e.Regs.RFLAGS, e.SRegs.CS.Selector,
		e.SRegs.CR0, e.SRegs.CR2, e.SRegs.CR3, e.SRegs.CR4, e.SRegs.EFER)
}

// fatal describes the end of the guest. On an AMD processor KVM has reset the
// registers of a triple fault already, so they say nothing then.
func (v *VCPU) fatal(kind FatalKind, what string) error {
	e := &FatalError{Index: v.cfg.Index, Kind: kind, What: what}
	e.Regs, e.noRegs = v.kvm.Regs()
	if e.noRegs == nil {
		e.SRegs, e.noRegs = v.kvm.SRegs()
	}
	return e
}

// fatalRun describes an error of KVM_RUN. With EFAULT, and also EHWPOISON, KVM
// says which memory it could not give to the guest.
func (v *VCPU) fatalRun(err error) error {
	what := "KVM_RUN: " + err.Error()
	if v.kvm.ExitReason() == kvm.ExitMemoryFault {
		gpa, size := v.kvm.MemoryFault()
		what += fmt.Sprintf(": no memory for the guest's address %#x+%#x", gpa, size)
	}
	return v.fatal(FatalRun, what)
}

func (v *VCPU) fatalEntry() error {
	reason, cpu := v.kvm.FailEntry()
	return v.fatal(FatalEntry, fmt.Sprintf("host processor %d refused to enter the guest, reason %#x", cpu, reason))
}

func (v *VCPU) fatalSystemEvent() error {
	what := "unknown system event"
	switch v.kvm.SystemEvent() {
	case kvm.SystemEventShutdown:
		what = "system event: shut down"
	case kvm.SystemEventReset:
		what = "system event: reset"
	case kvm.SystemEventCrash:
		what = "system event: crash"
	}
	return v.fatal(FatalSystemEvent, what)
}

func (v *VCPU) fatalExit(reason kvm.ExitReason) error {
	what := "unexpected exit: " + reason.String()
	switch reason {
	case kvm.ExitUnknown:
		what += fmt.Sprintf(", hardware reason %#x", v.kvm.HardwareExitReason())
	case kvm.ExitMemoryFault:
		gpa, size := v.kvm.MemoryFault()
		what += fmt.Sprintf(" at %#x+%#x", gpa, size)
	}
	return v.fatal(FatalExit, what)
}
