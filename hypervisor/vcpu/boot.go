package vcpu

import (
	"gozen/hypervisor/kvm"
	"gozen/hypervisor/linuxboot"
)

// Bits of control registers (Intel SDM volume 3, 2.5 and volume 4, 2.1).
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0PG = 1 << 31

	cr4PAE = 1 << 5

	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsReserved = 1 << 1 // always set
)

// Segment types (Intel SDM volume 3, 3.4.5.1 and 3.5).
const (
	typeData = 0x3 // read, write, accessed
	typeCode = 0xb // execute, read, accessed
	typeTask = 0xb // busy task state segment
)

// flat is a segment of 4 GiB from address 0.
func flat(selector uint16, typ uint8) kvm.Segment {
	return kvm.Segment{Limit: 0xffff_ffff, Selector: selector, Type: typ, Present: 1, S: 1, G: 1}
}

// entryRegs are the general registers at entry.
func entryRegs(e *linuxboot.Entry) kvm.Regs {
	return kvm.Regs{RIP: e.RIP, RSI: e.RSI, RBX: e.RBX, RFLAGS: rflagsReserved}
}

// setEntry changes the special registers from those of a reset to those at
// entry.
func setEntry(s *kvm.SRegs, e *linuxboot.Entry) {
	data := flat(e.DS, typeData)
	data.DB = 1
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.CS = flat(e.CS, typeCode)
	// PVH asks for a task state segment of the least size, and virtualization
	// hardware wants to see a busy one.
	s.TR = kvm.Segment{Limit: 0x67, Type: typeTask, Present: 1}
	s.LDT = kvm.Segment{Unusable: 1}
	s.GDT = kvm.DTable{Base: e.GDT, Limit: e.GDTLimit}
	s.IDT = kvm.DTable{}
	s.CR3, s.CR4, s.EFER = 0, 0, 0
	if e.Long {
		s.CS.L = 1
		s.CR0 = cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG
		s.CR3 = e.CR3
		s.CR4 = cr4PAE
		s.EFER = eferLME | eferLMA
	} else {
		s.CS.DB = 1
		s.CR0 = cr0PE | cr0ET
	}
}

// Registers that a firmware would have set (Intel SDM volume 4, 2.1 and volume 3,
// 13.11.2).
const (
	msrMiscEnable  = 0x1a0
	msrMTRRDefType = 0x2ff

	miscFastString = 1 << 0

	mtrrEnable    = 1 << 11
	mtrrWriteBack = 6
)

// Boot makes the paused processor ready to start from power-on: with entry, as
// the first one, which enters the kernel; with nil, as one that waits until the
// first one starts it.
func (v *VCPU) Boot(cpuid []kvm.CPUIDEntry, entry *linuxboot.Entry) error {
	return v.do(func(c *kvm.VCPU) error {
		if err := setFeatures(c, cpuid); err != nil {
			return err
		}
		if err := setFirmwareMSRs(c); err != nil {
			return err
		}
		if entry == nil {
			return c.SetMPState(kvm.MPUninitialized)
		}
		s, err := c.SRegs()
		if err != nil {
			return err
		}
		setEntry(&s, entry)
		if err := c.SetSRegs(&s); err != nil {
			return err
		}
		r := entryRegs(entry)
		if err := c.SetRegs(&r); err != nil {
			return err
		}
		return c.SetMPState(kvm.MPRunnable)
	})
}

// PreFault maps memory of the guest, which becomes resident, so that the paused
// processor finds it without an exit. It does nothing where the host cannot.
func (v *VCPU) PreFault(gpa, size uint64) error {
	return v.do(func(c *kvm.VCPU) error { return c.PreFault(gpa, size) })
}

// machineCheckBanks is how many banks of machine check registers a processor
// has: one, in which a memory error of the host could be reported. Linux reads and
// writes every bank several times, an exit each.
const machineCheckBanks = 1

// setFeatures sets what the processor says it has, and makes KVM refuse the
// paravirtual features that are not in it.
func setFeatures(c *kvm.VCPU, entries []kvm.CPUIDEntry) error {
	if err := c.EnableCap(kvm.CapEnforcePVFeature, 1); err != nil {
		return err
	}
	if err := c.SetMachineCheckBanks(machineCheckBanks); err != nil {
		return err
	}
	return c.SetCPUID(entries)
}

// setFirmwareMSRs makes all memory write-back where nothing else is said, and
// turns fast string operations on.
func setFirmwareMSRs(c *kvm.VCPU) error {
	msrs := []kvm.MSR{{Index: msrMTRRDefType, Data: mtrrEnable | mtrrWriteBack}}
	misc, err := c.MSRs([]uint32{msrMiscEnable})
	if err != nil {
		return err
	}
	for _, m := range misc {
		m.Data |= miscFastString
		msrs = append(msrs, m)
	}
	_, err = c.SetMSRs(msrs)
	return err
}
