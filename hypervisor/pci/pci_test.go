package pci

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"gozen/hypervisor/bus"
	"gozen/hypervisor/platform"
)

// register is a device of one byte, which says who it is.
type register byte

func (r register) Read(_ uint64, p []byte) {
	for i := range p {
		p[i] = byte(r)
	}
}
func (register) Write(uint64, []byte) {}

// machine is a root complex with two functions of one BAR each.
type machine struct {
	t    testing.TB
	mmio *bus.Bus
	root *Root
	a, b *Function
	// at is where the BARs of a and b answer by what Moved said, 0 for nowhere.
	at [2]uint64
}

const testBAR = 0x8000

func newMachine(t testing.TB) *machine {
	m := &machine{t: t, mmio: bus.New()}
	var err error
	if m.root, err = NewRoot(m.mmio); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.root.Close(); err != nil {
			t.Error(err)
		}
	})
	m.a, m.b = m.function(0, "a", 0xa1), m.function(1, "b", 0xb2)
	for i, f := range []*Function{m.a, m.b} {
		if err := m.root.Attach(i+1, f); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *machine) function(i int, name string, id register) *Function {
	f := NewFunction(name, Identity{Vendor: 0x1af4, Device: 0x1042, SubVendor: 0x1af4, SubsystemDevice: 0x1042, Class: 0x010000, Revision: 1})
	err := f.AddBAR(BAR{Index: 0, Size: testBAR, Handler: id, Moved: func(base uint64, on bool) {
		switch {
		case on && m.at[i] != 0, !on && m.at[i] != base:
			m.t.Errorf("%s: Moved(%#x, %v) after it was at %#x", name, base, on, m.at[i])
		case on:
			m.at[i] = base
		default:
			m.at[i] = 0
		}
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := f.AddCapability(CapMSIX, []byte{2, 0, 0, 0x40, 0, 0, 0, 0x50, 0, 0}, []byte{0, 0xc0}); err != nil {
		m.t.Fatal(err)
	}
	if _, err := f.AddCapability(CapVendor, bytes.Repeat([]byte{0x55}, 18), bytes.Repeat([]byte{0x0f}, 18)); err != nil {
		m.t.Fatal(err)
	}
	return f
}

func ecam(slot, reg int) uint64 {
	return platform.ECAMBase + uint64(slot)<<15 + uint64(reg)
}

func (m *machine) write(slot, reg int, p ...byte) {
	m.t.Helper()
	if !m.mmio.Write(ecam(slot, reg), p) {
		m.t.Fatalf("nobody took a write to slot %d at %#x", slot, reg)
	}
}

func (m *machine) write32(slot, reg int, v uint32) {
	m.t.Helper()
	m.write(slot, reg, binary.LittleEndian.AppendUint32(nil, v)...)
}

// read32 reads as the guest does: from the memory.
func (m *machine) read32(slot, reg int) uint32 {
	return binary.LittleEndian.Uint32(m.root.page(slot)[reg:])
}

// answers says which function answers at addr, 0xff for none.
func (m *machine) answers(addr uint64) byte {
	p := []byte{0}
	m.mmio.Read(addr, p)
	return p[0]
}

func TestEnumeration(t *testing.T) {
	m := newMachine(t)
	for slot, want := range map[int]uint32{0: 0x0008_1b36, 1: 0x1042_1af4, 2: 0x1042_1af4, 3: 0xffff_ffff, 31: 0xffff_ffff} {
		if got := m.read32(slot, 0); got != want {
			t.Errorf("slot %d: identifiers %#x, want %#x", slot, got, want)
		}
		var viaBus [4]byte
		m.mmio.Read(ecam(slot, 0), viaBus[:])
		if got := binary.LittleEndian.Uint32(viaBus[:]); got != want {
			t.Errorf("slot %d by exit: identifiers %#x, want %#x", slot, got, want)
		}
	}
	if got := m.read32(1, 8); got != 0x01000001 {
		t.Errorf("class and revision %#x", got)
	}
	if got := m.read32(1, 0x2c); got != 0x10421af4 {
		t.Errorf("subsystem %#x", got)
	}
	// The capability list, walked as a guest walks it.
	if m.read32(1, regCommand)>>16&statusCapabilities == 0 {
		t.Error("the status register says that there are no capabilities")
	}
	var ids []byte
	for off := m.root.page(1)[regCapabilities]; off != 0; off = m.root.page(1)[off+1] {
		if off%4 != 0 {
			t.Errorf("capability at %#x is not aligned", off)
		}
		ids = append(ids, m.root.page(1)[off])
	}
	if !bytes.Equal(ids, []byte{CapMSIX, CapVendor}) {
		t.Errorf("capabilities %#x", ids)
	}
	if m.root.HostAddr()%4096 != 0 || m.root.Size() != 1<<20 {
		t.Error("the memory for KVM is not where the configuration space is")
	}
}

func TestSizing(t *testing.T) {
	m := newMachine(t)
	first := uint64(m.read32(1, 0x10)) | uint64(m.read32(1, 0x14))<<32
	if first != platform.PCIWindow64Base|barType64 {
		t.Fatalf("BAR starts as %#x", first)
	}
	m.write32(1, 0x10, 0xffff_ffff)
	m.write32(1, 0x14, 0xffff_ffff)
	if lo, hi := m.read32(1, 0x10), m.read32(1, 0x14); lo != ^uint32(testBAR-1)|barType64 || hi != 0xffff_ffff {
		t.Errorf("sizing reads %#x %#x", hi, lo)
	}
	m.write32(1, 0x10, uint32(first))
	m.write32(1, 0x14, uint32(first>>32))
	if lo, hi := m.read32(1, 0x10), m.read32(1, 0x14); uint64(hi)<<32|uint64(lo) != first {
		t.Errorf("after sizing %#x %#x, want %#x", hi, lo, first)
	}
	for reg := 0x18; reg < 0x28; reg += 4 {
		m.write32(1, reg, 0xffff_ffff)
		if got := m.read32(1, reg); got != 0 {
			t.Errorf("BAR register %#x, which is not there, sizes as %#x", reg, got)
		}
	}
	m.write32(1, 0x30, 0xffff_ffff)
	if got := m.read32(1, 0x30); got != 0 {
		t.Errorf("expansion ROM, which is not there, sizes as %#x", got)
	}
}

func TestDecoding(t *testing.T) {
	m := newMachine(t)
	base := uint64(platform.PCIWindow64Base)
	check := func(step string, addr uint64, want byte) {
		t.Helper()
		if got := m.answers(addr); got != want {
			t.Errorf("%s: %#x answers at %#x, want %#x", step, got, addr, want)
		}
	}
	check("before decoding", base, 0xff)
	m.write(1, regCommand, CommandMemory, 0)
	check("decoding on", base, 0xa1)
	check("last byte", base+testBAR-1, 0xa1)
	check("behind", base+testBAR, 0xff)
	if m.at != [2]uint64{base, 0} {
		t.Errorf("Moved said %#x", m.at)
	}
	m.write32(1, 0x10, 0x1000_0000)
	check("moved, old place", base, 0xff)
	check("moved", base+0x1000_0000, 0xa1)
	m.write32(1, 0x14, 0)
	check("moved out of the windows", 0x1000_0000, 0xff)
	m.write32(1, 0x10, platform.PCIWindow32Base)
	check("moved into the low window", platform.PCIWindow32Base, 0xa1)
	m.write32(1, 0x10, platform.ECAMBase-testBAR)
	check("at the end of the low window", platform.ECAMBase-testBAR, 0xa1)

	// The way is not free for b, until a goes.
	m.write32(2, 0x10, platform.ECAMBase-testBAR)
	m.write32(2, 0x14, 0)
	m.write(2, regCommand, CommandMemory, 0)
	check("two at one place", platform.ECAMBase-testBAR, 0xa1)
	m.write(1, regCommand, 0, 0)
	check("the other goes", platform.ECAMBase-testBAR, 0xb2)
	if m.at != [2]uint64{0, platform.ECAMBase - testBAR} {
		t.Errorf("Moved said %#x", m.at)
	}
}

func TestOnWrite(t *testing.T) {
	m := newMachine(t)
	var got []int
	f := NewFunction("hooked", Identity{Vendor: 1})
	off, err := f.AddCapability(CapVendor, make([]byte, 6), []byte{0, 0, 0xff, 0xff})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.OnWrite(off+4, 2, func(config []byte, at, n int) {
		got = append(got, at-off, n)
		config[off+6]++ // a hook may change what a guest may not
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.root.Attach(5, f); err != nil {
		t.Fatal(err)
	}
	m.write32(5, off, 0xffff_ffff)
	m.write(5, off+5, 1)
	m.write(5, off+3, 1, 2)
	m.write(5, off+6, 1, 2)
	if !slices.Equal(got, []int{5, 1, 3, 2}) {
		t.Errorf("the hook saw %v", got)
	}
	if c := m.root.page(5)[off:]; c[4] != 2 || c[5] != 1 || c[6] != 2 {
		t.Errorf("configuration space is %x", c[:8])
	}
	if got := f.Config(off+4, 2); !bytes.Equal(got, []byte{2, 1}) {
		t.Errorf("Config says %x", got)
	}
}

func TestMistakesOfTheMachine(t *testing.T) {
	m := newMachine(t)
	h := register(1)
	fresh := func() *Function { return NewFunction("new", Identity{}) }
	twice := fresh()
	_ = twice.AddBAR(BAR{Index: 0, Size: 0x1000, Handler: h})
	full := fresh()
	_ = full.AddBAR(BAR{Index: 0, Size: platform.PCIWindow64Size, Handler: h})
	capability := func(f *Function, body, mask int) error {
		_, err := f.AddCapability(CapVendor, make([]byte, body), make([]byte, mask))
		return err
	}
	for _, tc := range []struct {
		name, want string
		err        error
	}{
		{"odd index", "index 0, 2 or 4", fresh().AddBAR(BAR{Index: 1, Size: 0x1000, Handler: h})},
		{"index past the end", "index 0, 2 or 4", fresh().AddBAR(BAR{Index: 6, Size: 0x1000, Handler: h})},
		{"size no power of two", "power of two", fresh().AddBAR(BAR{Size: 0x3000, Handler: h})},
		{"size below a page", "power of two", fresh().AddBAR(BAR{Size: 0x800, Handler: h})},
		{"BAR twice", "there already", twice.AddBAR(BAR{Index: 0, Size: 0x1000, Handler: h})},
		{"BAR of an attached function", "attached", m.a.AddBAR(BAR{Index: 2, Size: 0x1000, Handler: h})},
		{"capability of an attached function", "attached", capability(m.a, 4, 0)},
		{"capability too long", "do not fit", capability(fresh(), legacyConfigSize-headerSize-1, 0)},
		{"mask too long", "longer than its body", capability(fresh(), 2, 3)},
		{"hook of an attached function", "attached", m.a.OnWrite(0x40, 1, nil)},
		{"hook outside", "outside", fresh().OnWrite(legacyConfigSize-1, 2, nil)},
		{"slot past the end", "slots 0 to 31", m.root.Attach(32, fresh())},
		{"slot taken", "taken by a", m.root.Attach(1, fresh())},
		{"attached twice", "already attached", m.root.Attach(9, m.a)},
		{"window full", "window is full", m.root.Attach(9, full)},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error with %q", tc.name, tc.err, tc.want)
		}
	}
	if err := capability(fresh(), legacyConfigSize-headerSize-2, 0); err != nil {
		t.Errorf("a capability that just fits: %v", err)
	}
}

func TestSaveRestore(t *testing.T) {
	from := newMachine(t)
	from.write32(1, 0x10, platform.PCIWindow32Base)
	from.write32(1, 0x14, 0)
	from.write(1, regCommand, CommandMemory|CommandBusMaster, 0)
	from.write(2, regInterrupt, 11)
	blob, err := json.Marshal(from.root.Save())
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(blob, &s); err != nil {
		t.Fatal(err)
	}
	to := newMachine(t)
	if err := to.root.Restore(s); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(to.root.mem, from.root.mem) {
		t.Error("configuration space differs after Restore")
	}
	if got := to.answers(platform.PCIWindow32Base); got != 0xa1 || to.at[0] != platform.PCIWindow32Base {
		t.Errorf("the BAR does not answer where it was: %#x", got)
	}

	for name, spoil := range map[string]func(*State){
		"version":          func(s *State) { s.Version++ },
		"function missing": func(s *State) { s.Functions = s.Functions[:2] },
		"function twice":   func(s *State) { s.Functions[1].Slot = 2 },
		"empty slot":       func(s *State) { s.Functions[1].Slot = 7 },
		"slot past end":    func(s *State) { s.Functions[1].Slot = 32 },
		"negative slot":    func(s *State) { s.Functions[1].Slot = -1 },
		"short":            func(s *State) { s.Functions[1].Config = s.Functions[1].Config[:255] },
		"read-only byte":   func(s *State) { s.Functions[1].Config[0]++ },
	} {
		var s State
		if err := json.Unmarshal(blob, &s); err != nil {
			t.Fatal(err)
		}
		spoil(&s)
		to := newMachine(t)
		before := slices.Clone(to.root.mem)
		if err := to.root.Restore(s); !errors.Is(err, errState) {
			t.Errorf("%s: %v, want errState", name, err)
		}
		if !bytes.Equal(before, to.root.mem) {
			t.Errorf("%s: a refused state changed something", name)
		}
	}
}

// checkInvariants is what no guest can break.
func (m *machine) checkInvariants(before []byte) {
	m.t.Helper()
	for off := 0; off < len(before); off++ {
		if off%ConfigSize == 0 && bytes.Equal(before[off:off+ConfigSize], m.root.mem[off:off+ConfigSize]) {
			off += ConfigSize - 1
			continue
		}
		slot, reg := off/ConfigSize/functionsPerSlot, off%ConfigSize
		f := m.root.functions[slot]
		var mask byte
		if f != nil && off/ConfigSize%functionsPerSlot == 0 && reg < legacyConfigSize {
			mask = f.mask[reg]
		}
		if (before[off]^m.root.mem[off])&^mask != 0 {
			m.t.Fatalf("read-only bits changed at %#x: %#x to %#x", off, before[off], m.root.mem[off])
		}
	}
	for i, f := range []*Function{m.a, m.b} {
		b := f.bars[0]
		if b.mapped != (m.at[i] != 0) || b.mapped && m.at[i] != b.base {
			m.t.Fatalf("%s: Moved said %#x, mapped is %v at %#x", f.name, m.at[i], b.mapped, b.base)
		}
		if b.mapped && (!f.decoding() || f.address(b) != b.base) {
			m.t.Fatalf("%s: answers at %#x against its registers", f.name, b.base)
		}
	}
	for _, r := range m.mmio.Ranges() {
		if r.Base != platform.ECAMBase && !inWindow(r.Base, r.Size) {
			m.t.Fatalf("%s escaped to %#x", r.Name, r.Base)
		}
	}
}

// FuzzConfig lets a guest write anything of any width anywhere in configuration
// space. Each write is 12 bytes: offset, width, data.
func FuzzConfig(f *testing.F) {
	op := func(slot, reg int, n byte, v uint64) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(slot)<<15|uint32(reg)|uint32(n-1)<<28)
		return binary.LittleEndian.AppendUint64(b, v)
	}
	f.Add(slices.Concat(op(1, 4, 2, 2), op(1, 0x10, 4, 0xffffffff), op(1, 0x14, 4, 0xffffffff), op(1, 0x10, 8, platform.PCIWindow32Base)))
	f.Add(slices.Concat(op(1, 4, 1, 2), op(2, 4, 1, 2), op(2, 0x10, 8, platform.PCIWindow64Base), op(1, 4, 1, 0), op(2, 3, 5, 0)))
	f.Add(slices.Concat(op(0, 0, 8, 0), op(31, 0xffd, 8, 0), op(1, 0xff, 3, 0xffffff), op(3, 0, 4, 0)))
	f.Add(slices.Concat(op(1, 0x10, 8, platform.PCIWindow64Base+platform.PCIWindow64Size-testBAR), op(1, 4, 1, 7), op(1, 0x10, 8, ^uint64(0))))
	before := newMachine(f).root.mem
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMachine(t)
		for ; len(data) >= 12; data = data[12:] {
			w := binary.LittleEndian.Uint32(data)
			off, n := uint64(w)%busSize, int(w>>28)%8+1
			// An access that leaves the range is nobody's, as the bus tests show.
			m.mmio.Write(platform.ECAMBase+off, data[4:4+n])
			m.mmio.Read(platform.ECAMBase+off, make([]byte, n))
		}
		m.checkInvariants(before)
	})
}

// FuzzRestore feeds Restore any configuration space for one function.
func FuzzRestore(f *testing.F) {
	m := newMachine(f)
	m.write(1, regCommand, CommandMemory, 0)
	for _, fs := range m.root.Save().Functions {
		f.Add(fs.Slot, fs.Config)
	}
	before := newMachine(f).root.mem
	f.Fuzz(func(t *testing.T, slot int, config []byte) {
		m := newMachine(t)
		s := m.root.Save()
		s.Functions[1] = FunctionState{slot, config}
		_ = m.root.Restore(s)
		m.checkInvariants(before)
	})
}
