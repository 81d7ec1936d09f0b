package virtiopci

import (
	"encoding/binary"
	"fmt"
)

// source is something that interrupts: a queue or the configuration.
type source struct {
	vector Vector
	entry  uint16 // of the MSI-X table, or noVector

	// What the vector was last told, so that it is told changes only.
	open    bool
	message msixMessage
}

// msixMessage is where and what an interrupt writes.
type msixMessage struct {
	addr uint64
	data uint32
}

// msixTable is the MSI-X table and the message control register.
type msixTable struct {
	control uint16
	entries []byte // msixEntrySize each, as the guest sees them
}

func newMSIXTable(n int) msixTable {
	m := msixTable{entries: make([]byte, n*msixEntrySize)}
	for i := range n {
		m.entries[i*msixEntrySize+12] = msixEntryMask // masked after reset
	}
	return m
}

func (m *msixTable) len() int { return len(m.entries) / msixEntrySize }

func (m *msixTable) read(off uint32, p []byte) {
	if uint64(off) < uint64(len(m.entries)) {
		copy(p, m.entries[off:])
	}
}

// write takes an aligned write of 4 or 8 bytes, the only ones that the
// specification defines, and returns the entry.
func (m *msixTable) write(off uint32, p []byte) (entry int, ok bool) {
	n := uint32(len(p))
	if n != 4 && n != 8 || off%n != 0 || int(off) >= len(m.entries) {
		return 0, false
	}
	copy(m.entries[off:], p)
	entry = int(off / msixEntrySize)
	e := m.entries[entry*msixEntrySize:][:msixEntrySize]
	e[0] &^= 3                                                         // the address is 32-bit aligned
	binary.LittleEndian.PutUint32(e[12:], uint32(e[12]&msixEntryMask)) // the rest is reserved
	return entry, true
}

// deliverable returns the message of an entry, and whether it may be sent.
func (m *msixTable) deliverable(entry uint16) (msixMessage, bool) {
	if m.control&(msixEnable|msixFunctionMask) != msixEnable || int(entry) >= m.len() {
		return msixMessage{}, false
	}
	e := m.entries[int(entry)*msixEntrySize:]
	le := binary.LittleEndian
	return msixMessage{le.Uint64(e), le.Uint32(e[8:])}, e[12]&msixEntryMask == 0
}

// choose assigns an MSI-X entry to a source. One that does not exist leaves the
// source without, which the driver sees when it reads back.
func (t *Transport) choose(s *source, entry uint16) {
	if int(entry) >= t.msix.len() {
		entry = noVector
	}
	if s.entry == noVector && entry != noVector {
		// The driver wanted none of the signals so far.
		drain(s.vector.FD())
	}
	s.entry = entry
	t.route(s)
}

// route brings a source's vector in line with the registers.
func (t *Transport) route(s *source) {
	msg, open := t.msix.deliverable(s.entry)
	var err error
	switch {
	case open && (!s.open || s.message != msg):
		err = s.vector.Program(msg.addr, msg.data)
	case !open && s.open:
		err = s.vector.Mask()
	default:
		return
	}
	if err != nil {
		s.open = false
		t.attempt.fail(fmt.Errorf("MSI-X entry %d: %w", s.entry, err))
		return
	}
	s.open, s.message = open, msg
}

// routeEntry follows a change of one table entry.
func (t *Transport) routeEntry(entry int) {
	t.eachSource(func(s *source) {
		if int(s.entry) == entry {
			t.route(s)
		}
	})
}

// routeAll follows a change that concerns all sources.
func (t *Transport) routeAll() { t.eachSource(t.route) }

func (t *Transport) eachSource(fn func(*source)) {
	fn(&t.config)
	for _, q := range t.queues {
		fn(&q.source)
	}
}

// msixControlWritten follows the message control register. package pci holds its
// lock.
func (t *Transport) msixControlWritten(config []byte, _, _ int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.msix.control = binary.LittleEndian.Uint16(config[t.msixCap+2:])
	t.routeAll()
}

// readPBA serves the pending bits, one an entry.
func (t *Transport) readPBA(off uint32, p []byte) {
	t.eachSource(func(s *source) {
		if s.entry == noVector || t.msix.control&msixEnable == 0 || s.open || !s.vector.Pending() {
			return
		}
		if i := uint32(s.entry) / 8; i >= off && i-off < uint32(len(p)) {
			p[i-off] |= 1 << (s.entry % 8)
		}
	})
}
