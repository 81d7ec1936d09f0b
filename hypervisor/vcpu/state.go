package vcpu

import (
	"fmt"

	"gozen/hypervisor/kvm"
)

// StateVersion is the only version of State so far.
const StateVersion = 1

// State is everything that a processor has. It can be written as JSON.
type State struct {
	Version   int              `json:"version"` // StateVersion
	Index     int              `json:"index"`
	CPUID     []kvm.CPUIDEntry `json:"cpuid"`
	TSCKHz    int              `json:"tsc_khz"`
	MPState   kvm.MPState      `json:"mp_state"`
	Regs      kvm.Regs         `json:"regs"`
	SRegs     kvm.SRegs2       `json:"sregs"`
	XCRs      kvm.XCRs         `json:"xcrs"`
	XSave     []byte           `json:"xsave"`
	DebugRegs kvm.DebugRegs    `json:"debug_regs"`
	MSRs      []kvm.MSR        `json:"msrs"`
	LAPIC     []byte           `json:"lapic"` // the register page
	Events    kvm.Events       `json:"events"`
}

// msrTSCDeadline arms the local APIC's timer (Intel SDM volume 3, 12.5.4.1). KVM
// takes it only when the APIC's timer is already in that mode.
const msrTSCDeadline = 0x6e0

// Registers of Hyper-V's interface, which gozen-1 does not offer. KVM lists them
// always, and refuses to set some.
const (
	msrHyperVFirst = 0x4000_0000
	msrHyperVLast  = 0x4000_0fff
)

// stateMSRs is the list of registers to save.
func stateMSRs(all []uint32) []uint32 {
	var out []uint32
	for _, m := range all {
		if m < msrHyperVFirst || m > msrHyperVLast {
			out = append(out, m)
		}
	}
	return out
}

// Save reads the complete state of the paused processor, which may go on
// afterwards. All processors of a guest should be paused before the first is
// saved: Restore gives all of them the time stamp counter of the one restored
// first, which is then no earlier than any of them has seen.
func (v *VCPU) Save() (*State, error) {
	s := &State{Version: StateVersion, Index: v.cfg.Index}
	err := v.do(func(c *kvm.VCPU) (err error) {
		// First, because KVM accepts a pending INIT or start-up message here, which
		// changes registers.
		if s.MPState, err = c.MPState(); err != nil {
			return err
		}
		if s.Regs, err = c.Regs(); err != nil {
			return err
		}
		if s.SRegs, err = c.SRegs2(); err != nil {
			return err
		}
		if s.XCRs, err = c.XCRs(); err != nil {
			return err
		}
		if s.XSave, err = c.XSave(); err != nil {
			return err
		}
		if s.DebugRegs, err = c.DebugRegs(); err != nil {
			return err
		}
		lapic, err := c.LAPIC()
		if err != nil {
			return err
		}
		s.LAPIC = lapic.Regs[:]
		if s.MSRs, err = c.MSRs(stateMSRs(v.cfg.MSRs)); err != nil {
			return err
		}
		if s.TSCKHz, err = c.TSCKHz(); err != nil {
			return err
		}
		if s.CPUID, err = c.CPUID(); err != nil {
			return err
		}
		// Last, because the others may put events on their way.
		s.Events, err = c.Events()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("save: %w", err)
	}
	return s, nil
}

// Restore gives a new processor, one that has not run, the state s. The guest's
// memory must be there already, because some registers name pages of it.
// After the last processor the machine sets the VM's clock.
func (v *VCPU) Restore(s *State) error {
	var lapic kvm.LAPIC
	switch {
	case s.Version != StateVersion:
		return fmt.Errorf("restore vcpu %d: state has version %d, this vmm reads %d", v.cfg.Index, s.Version, StateVersion)
	case s.Index != v.cfg.Index:
		return fmt.Errorf("restore vcpu %d: state is of vcpu %d", v.cfg.Index, s.Index)
	case len(s.LAPIC) != len(lapic.Regs):
		return fmt.Errorf("restore vcpu %d: local APIC of %d bytes, not %d", v.cfg.Index, len(s.LAPIC), len(lapic.Regs))
	}
	copy(lapic.Regs[:], s.LAPIC)
	var deadline []kvm.MSR
	var msrs []kvm.MSR
	for _, m := range s.MSRs {
		if m.Index == msrTSCDeadline {
			deadline = append(deadline, m)
		} else {
			msrs = append(msrs, m)
		}
	}
	// The order matters: CPUID decides what everything else may hold; the special
	// registers hold the APIC's base and mode, and setting them may wake the
	// processor, so the MP state follows; the timer's deadline needs the APIC's mode
	// and the time stamp counter; setting registers clears exceptions, so events are
	// last.
	err := v.do(func(c *kvm.VCPU) error {
		for _, step := range []func() error{
			func() error { return setFeatures(c, s.CPUID) },
			func() error { return setTSCKHz(c, s.TSCKHz) },
			func() error { return c.SetSRegs2(&s.SRegs) },
			func() error { return c.SetMPState(s.MPState) },
			func() error { return c.SetRegs(&s.Regs) },
			func() error { return c.SetXCRs(&s.XCRs) },
			func() error { return c.SetXSave(s.XSave) },
			func() error { return c.SetDebugRegs(&s.DebugRegs) },
			func() error { return setMSRs(c, msrs) },
			func() error { return c.SetLAPIC(&lapic) },
			func() error { return setMSRs(c, deadline) },
			func() error { return c.SetEvents(&s.Events) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// setTSCKHz sets the frequency unless the host has it anyway: not every host can
// scale it.
func setTSCKHz(c *kvm.VCPU, khz int) error {
	have, err := c.TSCKHz()
	if err != nil || have == khz {
		return err
	}
	return c.SetTSCKHz(khz)
}

// setMSRs sets registers one after the other, and takes a refusal only when the
// register does not already have the value: KVM lists some that cannot be
// written.
func setMSRs(c *kvm.VCPU, msrs []kvm.MSR) error {
	for len(msrs) > 0 {
		n, err := c.SetMSRs(msrs)
		if err == nil {
			return nil
		}
		have, rerr := c.MSRs([]uint32{msrs[n].Index})
		if rerr != nil {
			return rerr
		}
		if len(have) != 1 || have[0].Data != msrs[n].Data {
			return err
		}
		msrs = msrs[n+1:]
	}
	return nil
}
