package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// get and set tie an ioctl to the type it reads or writes.

func get[T any](c *VCPU, req uintptr, name string) (T, error) {
	var v T
	_, err := ioctlPtr(c.fd, req, name, &v)
	return v, c.wrap(err)
}

func set[T any](c *VCPU, req uintptr, name string, v *T) error {
	_, err := ioctlPtr(c.fd, req, name, v)
	return c.wrap(err)
}

func (c *VCPU) wrap(err error) error {
	if err != nil {
		return fmt.Errorf("vcpu %d: %w", c.id, err)
	}
	return nil
}

// Regs returns the general registers.
func (c *VCPU) Regs() (Regs, error) { return get[Regs](c, ioctlGetRegs, "KVM_GET_REGS") }

// SetRegs sets the general registers.
func (c *VCPU) SetRegs(r *Regs) error { return set(c, ioctlSetRegs, "KVM_SET_REGS", r) }

// SRegs returns the special registers.
func (c *VCPU) SRegs() (SRegs, error) { return get[SRegs](c, ioctlGetSRegs, "KVM_GET_SREGS") }

// SetSRegs sets the special registers.
func (c *VCPU) SetSRegs(s *SRegs) error { return set(c, ioctlSetSRegs, "KVM_SET_SREGS", s) }

// SRegs2 returns the special registers with the PDPTEs.
func (c *VCPU) SRegs2() (SRegs2, error) { return get[SRegs2](c, ioctlGetSRegs2, "KVM_GET_SREGS2") }

// SetSRegs2 sets the special registers with the PDPTEs.
func (c *VCPU) SetSRegs2(s *SRegs2) error { return set(c, ioctlSetSRegs2, "KVM_SET_SREGS2", s) }

// FPU returns the x87 and SSE registers.
func (c *VCPU) FPU() (FPU, error) { return get[FPU](c, ioctlGetFPU, "KVM_GET_FPU") }

// SetFPU sets the x87 and SSE registers.
func (c *VCPU) SetFPU(f *FPU) error { return set(c, ioctlSetFPU, "KVM_SET_FPU", f) }

// XSave returns all extended state in the layout of CPUID leaf 0xd.
func (c *VCPU) XSave() ([]byte, error) {
	_, b := flexible[struct{}, byte](c.xsaveSize)
	_, err := ioctlPtr(c.fd, ioctlGetXSave2, "KVM_GET_XSAVE2", &b[0])
	return b, c.wrap(err)
}

// SetXSave sets all extended state. The kernel refuses state of features that
// the host lacks.
func (c *VCPU) SetXSave(b []byte) error {
	if len(b) != c.xsaveSize {
		return fmt.Errorf("vcpu %d: extended state of %d bytes, this host has %d", c.id, len(b), c.xsaveSize)
	}
	_, own := flexible[struct{}, byte](len(b)) // aligned
	copy(own, b)
	return set(c, ioctlSetXSave, "KVM_SET_XSAVE", &own[0])
}

// XCRs returns the extended control registers.
func (c *VCPU) XCRs() (XCRs, error) { return get[XCRs](c, ioctlGetXCRs, "KVM_GET_XCRS") }

// SetXCRs sets the extended control registers.
func (c *VCPU) SetXCRs(x *XCRs) error { return set(c, ioctlSetXCRs, "KVM_SET_XCRS", x) }

// LAPIC returns the local APIC's registers.
func (c *VCPU) LAPIC() (LAPIC, error) { return get[LAPIC](c, ioctlGetLAPIC, "KVM_GET_LAPIC") }

// SetLAPIC sets the local APIC's registers.
func (c *VCPU) SetLAPIC(l *LAPIC) error { return set(c, ioctlSetLAPIC, "KVM_SET_LAPIC", l) }

// Events returns what is on its way into the guest.
func (c *VCPU) Events() (Events, error) {
	return get[Events](c, ioctlGetVCPUEvents, "KVM_GET_VCPU_EVENTS")
}

// SetEvents sets the parts of e that e.Flags names, and those that have no flag.
func (c *VCPU) SetEvents(e *Events) error {
	return set(c, ioctlSetVCPUEvents, "KVM_SET_VCPU_EVENTS", e)
}

// DebugRegs returns the debug registers.
func (c *VCPU) DebugRegs() (DebugRegs, error) {
	return get[DebugRegs](c, ioctlGetDebugRegs, "KVM_GET_DEBUGREGS")
}

// SetDebugRegs sets the debug registers.
func (c *VCPU) SetDebugRegs(d *DebugRegs) error {
	return set(c, ioctlSetDebugRegs, "KVM_SET_DEBUGREGS", d)
}

// MPState returns whether the vCPU runs or waits.
func (c *VCPU) MPState() (MPState, error) {
	m, err := get[mpState](c, ioctlGetMPState, "KVM_GET_MP_STATE")
	return MPState(m.MPState), err
}

// SetMPState sets whether the vCPU runs or waits.
func (c *VCPU) SetMPState(s MPState) error {
	return set(c, ioctlSetMPState, "KVM_SET_MP_STATE", &mpState{MPState: uint32(s)})
}

// SetCPUID says what the CPUID instruction answers. It comes before the first
// Run.
func (c *VCPU) SetCPUID(entries []CPUIDEntry) error {
	h, e := flexible[cpuidHeader, CPUIDEntry](len(entries))
	h.Nent = uint32(len(entries))
	copy(e, entries)
	return set(c, ioctlSetCPUID2, "KVM_SET_CPUID2", h)
}

// CPUID returns what SetCPUID set, with the bits that follow the guest's control
// registers as they are now.
func (c *VCPU) CPUID() ([]CPUIDEntry, error) {
	const most = 256 // KVM_MAX_CPUID_ENTRIES of the kernel
	h, e := flexible[cpuidHeader, CPUIDEntry](most)
	h.Nent = most
	if err := set(c, ioctlGetCPUID2, "KVM_GET_CPUID2", h); err != nil {
		return nil, err
	}
	return e[:h.Nent], nil
}

// MSRs reads the model-specific registers of the list that this vCPU has, in
// the list's order. Those that the guest's CPUID does not give it are left out.
func (c *VCPU) MSRs(list []uint32) ([]MSR, error) {
	out := make([]MSR, 0, len(list))
	for len(list) > 0 {
		n, e, err := c.readMSRs(list)
		if err != nil {
			return nil, err
		}
		out = append(out, e[:n]...)
		list = list[min(n+1, len(list)):] // the one after the last is unreadable
	}
	return out, nil
}

// readMSRs reads up to the first register that cannot be read.
func (c *VCPU) readMSRs(list []uint32) (int, []MSR, error) {
	h, e := flexible[msrsHeader, MSR](len(list))
	h.Nmsrs = uint32(len(list))
	for i, index := range list {
		e[i].Index = index
	}
	n, err := ioctlPtr(c.fd, ioctlGetMSRs, "KVM_GET_MSRS", h)
	return n, e, c.wrap(err)
}

// SetMSRs sets model-specific registers in the order given. It stops at the
// first that the kernel refuses, names it in the error and returns its place in
// msrs: so many were set.
func (c *VCPU) SetMSRs(msrs []MSR) (int, error) {
	h, e := flexible[msrsHeader, MSR](len(msrs))
	h.Nmsrs = uint32(len(msrs))
	copy(e, msrs)
	n, err := ioctlPtr(c.fd, ioctlSetMSRs, "KVM_SET_MSRS", h)
	if err == nil && n < len(msrs) {
		err = fmt.Errorf("KVM_SET_MSRS: register %#x refused the value %#x: %w", msrs[n].Index, msrs[n].Data, unix.EINVAL)
	}
	return n, c.wrap(err)
}

// TSCKHz returns the frequency of the guest's time stamp counter in kHz.
func (c *VCPU) TSCKHz() (int, error) {
	n, err := ioctlNumber(c.fd, ioctlGetTSCKHz, "KVM_GET_TSC_KHZ", 0)
	return n, c.wrap(err)
}

// SetTSCKHz sets the frequency of the guest's time stamp counter in kHz. A
// frequency other than the host's needs CapTSCControl.
func (c *VCPU) SetTSCKHz(khz int) error {
	_, err := ioctlNumber(c.fd, ioctlSetTSCKHz, "KVM_SET_TSC_KHZ", uintptr(khz))
	return c.wrap(err)
}

// SetMachineCheckBanks gives the vCPU so many banks of machine check registers,
// 1 to 32, and no further machine check features (KVM_X86_SETUP_MCE). It has 32
// otherwise.
func (c *VCPU) SetMachineCheckBanks(n uint8) error {
	capabilities := uint64(n) // IA32_MCG_CAP: Intel SDM volume 3, 16.3.1.1
	return set(c, ioctlSetupMCE, "KVM_X86_SETUP_MCE", &capabilities)
}

// ClockPaused tells the guest's kvmclock that the host stopped it, so that its
// soft-lockup watchdog does not bark (KVM_KVMCLOCK_CTRL). A guest that does not
// use kvmclock has none to tell: that is no error.
func (c *VCPU) ClockPaused() error {
	_, err := ioctlNumber(c.fd, ioctlKVMClockCtrl, "KVM_KVMCLOCK_CTRL", 0)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return c.wrap(err)
}

// NMI sends the vCPU a non-maskable interrupt.
func (c *VCPU) NMI() error {
	_, err := ioctlNumber(c.fd, ioctlNMI, "KVM_NMI", 0)
	return c.wrap(err)
}

// Translate follows the guest's page tables from a linear address.
func (c *VCPU) Translate(linear uint64) (Translation, error) {
	t := Translation{LinearAddress: linear}
	err := set(c, ioctlTranslate, "KVM_TRANSLATE", &t)
	return t, err
}
