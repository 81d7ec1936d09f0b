package guests

import (
	"gozen/dom0/fault"
	"gozen/dom0/quantity"
)

// Memory tells how many bytes are given to running guests, how many guests that
// is, and how many bytes a new one may be given.
func (m *Manager) Memory() (given uint64, guests int, free uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.memory()
}

func (m *Manager) memory() (given uint64, guests int, free uint64) {
	taken := m.opt.Reserved()
	for _, n := range m.promised {
		given += n
		taken += n + vmmPromise
	}
	// A new guest needs a vmm too.
	if taken+vmmPromise < m.opt.HostMemory {
		free = m.opt.HostMemory - taken - vmmPromise
	}
	return given, len(m.promised), free
}

// reserve promises the guest its memory and gives it a slot.
func (m *Manager) reserve(g *guest) (slot int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	given, n, free := m.memory()
	if g.spec.MemoryBytes > free {
		return 0, fault.New(fault.Exhausted, "guest %q: memory %s: host has %s free (%s total, %s given to %d guests)", g.name,
			quantity.Bytes(g.spec.MemoryBytes), quantity.Bytes(free), quantity.Bytes(m.opt.HostMemory), quantity.Bytes(given), n)
	}
	if int(g.spec.Vcpus) > m.opt.HostCPUs {
		return 0, fault.New(fault.Exhausted, "guest %q: %d vCPUs: the host has %d CPUs", g.name, g.spec.Vcpus, m.opt.HostCPUs)
	}
	for slot := range maxSlots {
		if m.slots[slot] == nil {
			m.slots[slot] = g
			m.promised[g] = g.spec.MemoryBytes
			return slot, nil
		}
	}
	return 0, fault.New(fault.Exhausted, "guest %q: %d guests are running: no more can", g.name, maxSlots)
}

// free takes back what reserve gave.
func (m *Manager) free(g *guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.promised, g)
	for slot, owner := range m.slots {
		if owner == g {
			delete(m.slots, slot)
		}
	}
}
