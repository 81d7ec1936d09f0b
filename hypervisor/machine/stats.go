package machine

import (
	"gozen/hypervisor/vmmapi"
)

// statExits is KVM's name for the number of times a vCPU left the guest.
const statExits = "exits"

// Stats returns the counters so far.
func (m *Machine) Stats() *vmmapi.Stats {
	s := &vmmapi.Stats{
		VMMExits:           make(map[string]uint64),
		KVM:                m.kvmStats(),
		ExitsAtConsoleOpen: m.exitsAtOpen.Load(),
	}
	for _, v := range m.vcpus {
		v.Exits(s.VMMExits)
	}
	for _, t := range m.transports {
		d := vmmapi.DeviceStats{Name: t.Device().Name(), Counters: t.Device().Counters()}
		if err := t.Err(); err != nil {
			d.Error = err.Error()
		}
		s.Devices = append(s.Devices, d)
	}
	return s
}

// kvmStats sums the kernel's counters of all vCPUs. They are for information:
// one that cannot be read is left out.
func (m *Machine) kvmStats() map[string]uint64 {
	sum := make(map[string]uint64)
	for _, v := range m.vcpus {
		_ = v.KVMStats(sum)
	}
	return sum
}

// consoleOpened is called with each output of the console and notes the first:
// the guest has got as far as its own drivers.
func (m *Machine) consoleOpened() {
	m.opened.Do(func() {
		m.exitsAtOpen.Store(max(m.kvmStats()[statExits], 1))
		m.event(vmmapi.Event{Kind: vmmapi.EventConsole})
	})
}
