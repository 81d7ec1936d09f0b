package ioapic

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"gozen/hypervisor/platform"
)

type msi struct {
	addr uint64
	data uint32
}

// chip is an I/O APIC whose messages a test receives.
type chip struct {
	*IOAPIC
	sent []msi
	err  error
}

func newChip() *chip {
	c := &chip{}
	c.IOAPIC = New(func(addr uint64, data uint32) error {
		if c.err == nil {
			c.sent = append(c.sent, msi{addr, data})
		}
		return c.err
	})
	return c
}

func (c *chip) put(off uint64, v uint32) { c.Write(off, binary.LittleEndian.AppendUint32(nil, v)) }

func (c *chip) get(off uint64) uint32 {
	var b [4]byte
	c.Read(off, b[:])
	return binary.LittleEndian.Uint32(b[:])
}

func (c *chip) setReg(i uint8, v uint32) { c.put(regSelect, uint32(i)); c.put(regWindow, v) }
func (c *chip) reg(i uint8) uint32       { c.put(regSelect, uint32(i)); return c.get(regWindow) }

func (c *chip) setEntry(pin int, e uint64) {
	c.setReg(uint8(idxTable+2*pin+1), uint32(e>>32))
	c.setReg(uint8(idxTable+2*pin), uint32(e))
}

func TestRegisters(t *testing.T) {
	c := newChip()
	if got := c.reg(idxVersion); got != 0x0004_0011 {
		t.Errorf("version %#x", got)
	}
	c.setReg(idxVersion, 0)
	c.setReg(idxID, 0xffff_ffff)
	if id, arb, v := c.reg(idxID), c.reg(idxArbitration), c.reg(idxVersion); id != idMask || arb != idMask || v != version {
		t.Errorf("identifier %#x, arbitration %#x, version %#x", id, arb, v)
	}
	for pin := range platform.IOAPICPins {
		i := uint8(idxTable + 2*pin)
		if lo, hi := c.reg(i), c.reg(i+1); lo != entryMasked || hi != 0 {
			t.Errorf("entry %d after reset: %#x %#x", pin, hi, lo)
		}
		c.setReg(i, 0xffff_ffff)
		c.setReg(i+1, 0xffff_ffff)
		if lo, hi := c.reg(i), c.reg(i+1); lo != 0x1_afff || hi != 0xff00_0000 {
			t.Errorf("writable bits of entry %d: %#x %#x", pin, hi, lo)
		}
	}
	for _, i := range []uint8{3, idxTable - 1, idxTable + 2*platform.IOAPICPins, 0xff} {
		c.setReg(i, 0xffff_ffff)
		if got := c.reg(i); got != 0 {
			t.Errorf("register %#x, which is not there: %#x", i, got)
		}
	}
	if got := c.get(regSelect); got != 0xff {
		t.Errorf("selected %#x", got)
	}
	for _, n := range []int{1, 2, 3, 8} {
		p := slices.Repeat([]byte{0xee}, n)
		c.Write(regSelect, p)
		c.Read(regSelect, p)
		if slices.Max(p) != 0 || c.get(regSelect) != 0xff {
			t.Errorf("an access of %d bytes did something", n)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, tc := range []struct {
		name  string
		entry uint64
		want  msi
	}{
		{"fixed, physical", 3<<entryDestShift | 0x41, msi{0xfee0_3000, 0x41}},
		{"lowest priority, logical", 0xff<<entryDestShift | entryLogical | 1<<8 | 0x52, msi{0xfeef_f004, 0x152}},
		{"NMI", 4 << 8, msi{0xfee0_0000, 0x400}},
		{"level and polarity make no difference", entryLevel | entryPolarity | 0x30, msi{0xfee0_0000, 0x30}},
	} {
		c := newChip()
		c.setEntry(2, tc.entry)
		for range 2 { // no end-of-interrupt in between
			if err := c.Raise(2); err != nil {
				t.Fatal(err)
			}
		}
		if want := []msi{tc.want, tc.want}; !slices.Equal(c.sent, want) {
			t.Errorf("%s: sent %#x, want %#x", tc.name, c.sent, want)
		}
	}
}

func TestMaskedEdgeIsKept(t *testing.T) {
	c := newChip()
	for range 3 {
		if err := c.Raise(4); err != nil {
			t.Fatal(err)
		}
	}
	c.setEntry(4, entryMasked|0x31)
	if len(c.sent) != 0 {
		t.Fatalf("a masked pin sent %v", c.sent)
	}
	c.setEntry(4, 0x31)
	c.setEntry(4, entryMasked|0x31)
	c.setEntry(4, 0x31)
	if want := []msi{{0xfee0_0000, 0x31}}; !slices.Equal(c.sent, want) {
		t.Errorf("sent %v, want the one edge", c.sent)
	}
}

func TestErrors(t *testing.T) {
	c := newChip()
	for _, pin := range []int{-1, platform.IOAPICPins} {
		if err := c.Raise(pin); err == nil || !strings.Contains(err.Error(), "pins 0 to 4") {
			t.Errorf("pin %d: %v", pin, err)
		}
	}
	c.err = errors.New("no local APIC")
	if err := c.Raise(1); err != nil || c.Err() != nil {
		t.Errorf("a masked pin: %v, %v", err, c.Err())
	}
	c.setEntry(1, 0x55)
	if err := c.Err(); !errors.Is(err, c.err) {
		t.Errorf("unmasking: %v", err)
	}
	if err := c.Raise(1); !errors.Is(err, c.err) || !strings.Contains(err.Error(), "pin 1") {
		t.Errorf("Raise: %v", err)
	}
}

func TestSaveRestore(t *testing.T) {
	from := newChip()
	from.setReg(idxID, 5<<24)
	from.setEntry(3, 7<<entryDestShift|entryLogical|0x66)
	if err := from.Raise(2); err != nil {
		t.Fatal(err)
	}
	blob, err := json.Marshal(from.Save())
	if err != nil {
		t.Fatal(err)
	}
	load := func() (s State) {
		if err := json.Unmarshal(blob, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	to := newChip()
	if err := to.Restore(load()); err != nil {
		t.Fatal(err)
	}
	for i := range 256 {
		if a, b := from.reg(uint8(i)), to.reg(uint8(i)); a != b {
			t.Errorf("register %#x: %#x, was %#x", i, b, a)
		}
	}
	to.setEntry(2, 0x77)
	if want := []msi{{0xfee0_0000, 0x77}}; !slices.Equal(to.sent, want) {
		t.Errorf("the held edge: sent %v", to.sent)
	}
	for name, spoil := range map[string]func(*State){
		"version":  func(s *State) { s.Version = 2 },
		"entries":  func(s *State) { s.Entries = s.Entries[1:] },
		"pending":  func(s *State) { s.Pending = append(s.Pending, true) },
		"ID":       func(s *State) { s.ID = 1 },
		"reserved": func(s *State) { s.Entries[0] |= entryRemoteIRR },
	} {
		s := load()
		spoil(&s)
		if err := newChip().Restore(s); !errors.Is(err, errState) {
			t.Errorf("%s: %v, want errState", name, err)
		}
	}
}

// FuzzAccess lets a guest access the registers in any way, with edges in
// between. Each step is 6 bytes: offset, width or pin, data.
func FuzzAccess(f *testing.F) {
	f.Add([]byte{0, 3, 0x18, 0, 0, 0, 0x10, 3, 0x31, 0, 0, 0, 0x80, 4, 0, 0, 0, 0})
	f.Add([]byte{0x80, 0, 0, 0, 0, 0, 0, 3, 0x10, 0, 0, 0, 0x10, 3, 0xff, 0xff, 0xfe, 0xff})
	f.Add([]byte{0, 3, 0, 0, 0, 0, 0x10, 3, 0xff, 0xff, 0xff, 0xff, 0x10, 1, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newChip()
		for ; len(data) >= 6; data = data[6:] {
			switch off, n := uint64(data[0]), int(data[1]); {
			case off&0x80 != 0:
				_ = c.Raise(n)
			case off&0x40 != 0:
				c.Read(off&0x3f, make([]byte, n%8+1))
			default:
				c.Write(off, data[2:2+n%4+1])
			}
		}
		s := c.Save()
		if err := newChip().Restore(s); err != nil {
			t.Errorf("a guest reached a state that cannot be: %v", err)
		}
		for pin, e := range s.Entries {
			if s.Pending[pin] && e&entryMasked == 0 {
				t.Errorf("pin %d is pending and not masked", pin)
			}
		}
		for _, m := range c.sent {
			if m.addr>>20 != platform.LAPICBase>>20 || m.data&^(entryVector|entryDelivery) != 0 {
				t.Errorf("message %#x to %#x", m.data, m.addr)
			}
		}
	})
}
