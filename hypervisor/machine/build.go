package machine

import (
	"fmt"
	"os"

	"gozen/hypervisor/acpi"
	"gozen/hypervisor/ioapic"
	"gozen/hypervisor/kvm"
	"gozen/hypervisor/legacy"
	"gozen/hypervisor/linuxboot"
	"gozen/hypervisor/pci"
	"gozen/hypervisor/platform"
	"gozen/hypervisor/power"
	"gozen/hypervisor/vcpu"
)

// addPlatform puts everything on the buses that every guest has.
func (m *Machine) addPlatform() error {
	m.ioapic = ioapic.New(m.vm.SignalMSI)
	m.power = power.New(power.Config{
		PowerOff: m.poweredOff,
		Reset:    m.wasReset,
		Raise:    func() error { return m.ioapic.Raise(platform.GEDPin) },
	})
	panicPort := legacy.NewPanic(legacy.PanicConfig{Panicked: m.panicked, CrashLoaded: m.crashLoaded})
	if err := m.mmio.Add(platform.IOAPICBase, platform.IOAPICSize, "I/O APIC", m.ioapic); err != nil {
		return err
	}
	if err := m.ports.Add(power.Base, power.Size, "power control", m.power); err != nil {
		return err
	}
	if err := m.ports.Add(platform.PortPVPanic, legacy.PanicPorts, "pvpanic", panicPort); err != nil {
		return err
	}
	if m.cfg.EarlySerial {
		m.serial = legacy.NewSerial(m.opts.Console)
		if err := m.ports.Add(platform.PortEarlySerial, legacy.SerialPorts, "early serial port", m.serial); err != nil {
			return err
		}
	}
	root, err := pci.NewRoot(m.mmio)
	if err != nil {
		return err
	}
	m.root = root
	m.onClose(root.Close)
	// The guest reads configuration space without an exit; a write leaves it.
	return m.vm.SetMemory(slotECAM, kvm.MemReadOnly, platform.ECAMBase, root.Size(), root.HostAddr())
}

// addVCPUs makes the processors and their threads, paused.
func (m *Machine) addVCPUs() error {
	msrs, err := m.system.MSRIndexList()
	if err != nil {
		return err
	}
	for i := range m.cfg.VCPUs {
		v, err := vcpu.New(vcpu.Config{VM: m.vm, Index: i, Ports: m.ports, MMIO: m.mmio, MSRs: msrs, Ended: m.vcpuEnded})
		if err != nil {
			return err
		}
		m.vcpus = append(m.vcpus, v)
		m.onClose(v.Close)
	}
	return nil
}

// boot writes the ACPI tables, the kernel and what it is told into memory, and
// sets where the first processor starts. The others wait for it.
func (m *Machine) boot() error {
	tables, err := acpi.Build(acpi.Config{VCPUs: m.cfg.VCPUs})
	if err != nil {
		return err
	}
	for _, b := range tables.Blobs {
		dst, err := m.memory.Slice(b.Addr, uint64(len(b.Data)))
		if err != nil {
			return fmt.Errorf("ACPI table %s: %w", b.Name, err)
		}
		copy(dst, b.Data)
	}
	vector, err := m.memory.Slice(platform.ResetVector, uint64(len(power.ResetVector)))
	if err != nil {
		return fmt.Errorf("reset vector: %w", err)
	}
	copy(vector, power.ResetVector)
	entry, err := m.loadKernel(tables.RSDP)
	if err != nil {
		return err
	}
	supported, err := m.system.SupportedCPUID()
	if err != nil {
		return err
	}
	for i, v := range m.vcpus {
		var at *linuxboot.Entry // the others wait to be started
		if i == 0 {
			at = &entry
		}
		if err := v.Boot(vcpu.CPUID(supported, i, len(m.vcpus)), at); err != nil {
			return err
		}
	}
	// The guest looks at every slot once.
	return m.vcpus[0].PreFault(platform.ECAMBase, m.root.Size())
}

// loadKernel reads kernel and initrd into memory and closes their files.
func (m *Machine) loadKernel(rsdp uint64) (linuxboot.Entry, error) {
	p := linuxboot.Params{Memory: m.memory, Cmdline: m.cfg.Cmdline, RSDP: rsdp}
	var err error
	if p.Kernel, err = m.openFile("kernel", m.cfg.Kernel); err != nil {
		return linuxboot.Entry{}, err
	}
	if m.cfg.Initrd != 0 {
		initrd, err := m.openFile("initrd", m.cfg.Initrd)
		if err != nil {
			return linuxboot.Entry{}, err
		}
		p.Initrd = &initrd
	}
	return linuxboot.Load(p)
}

// openFile takes over the descriptor of a regular file until Close.
func (m *Machine) openFile(name string, fd int) (linuxboot.File, error) {
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return linuxboot.File{}, fmt.Errorf("%s: no descriptor %d", name, fd)
	}
	m.onClose(f.Close)
	st, err := f.Stat()
	if err != nil {
		return linuxboot.File{}, err
	}
	if !st.Mode().IsRegular() {
		return linuxboot.File{}, fmt.Errorf("%s: not a regular file but %v", name, st.Mode())
	}
	return linuxboot.File{ReaderAt: f, Size: st.Size()}, nil
}
