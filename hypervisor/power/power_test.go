package power

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gozen/hypervisor/bus"
	"gozen/hypervisor/ioapic"
	"gozen/hypervisor/platform"
)

// machine is power hardware on a port bus, and what it did.
type machine struct {
	ports *bus.Bus
	*Control
	did []string
	err error
}

func newMachine(t testing.TB) *machine {
	m := &machine{ports: bus.New()}
	note := func(what string) func() { return func() { m.did = append(m.did, what) } }
	m.Control = New(Config{PowerOff: note("off"), Reset: note("reset"), Raise: func() error { note("raise")(); return m.err }})
	if err := m.ports.Add(Base, Size, "power", m.Control); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSleepAndReset(t *testing.T) {
	for _, tc := range []struct {
		name string
		port uint64
		data []byte
		want []string
	}{
		{"soft off", platform.PortSleepControl, []byte{0x34}, []string{"off"}},
		{"without enabling", platform.PortSleepControl, []byte{0x14}, nil},
		{"another sleep type", platform.PortSleepControl, []byte{0x24}, nil},
		{"other bits do not matter", platform.PortSleepControl, []byte{0xf7}, []string{"off"}},
		{"too wide", platform.PortSleepControl, []byte{0x34, 0}, nil},
		{"wake status", platform.PortSleepStatus, []byte{0x80}, nil},
		{"reset", platform.PortReset, []byte{1}, []string{"reset"}},
		{"another value", platform.PortReset, []byte{2}, nil},
		{"between the registers", platform.PortReset + 1, []byte{1}, nil},
		{"event register", platform.PortGED, []byte{0x34}, nil},
	} {
		m := newMachine(t)
		if !m.ports.Write(tc.port, tc.data) {
			t.Errorf("%s: nobody there", tc.name)
		}
		if !slices.Equal(m.did, tc.want) {
			t.Errorf("%s: did %v, want %v", tc.name, m.did, tc.want)
		}
	}
	m := newMachine(t)
	status := []byte{1, 1}
	if m.ports.Read(platform.PortSleepControl, status); status[0]|status[1] != 0 {
		t.Errorf("sleep registers read %x", status)
	}
}

func TestPowerButton(t *testing.T) {
	m := newMachine(t)
	read := func(off uint64, n int) []byte {
		p := slices.Repeat([]byte{0xee}, n)
		m.ports.Read(platform.PortGED+off, p)
		return p
	}
	for range 2 {
		if err := m.PressPowerButton(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"raise", "raise"}; !slices.Equal(m.did, want) {
		t.Errorf("did %v", m.did)
	}
	if got := read(1, 2); got[0]|got[1] != 0 {
		t.Errorf("the other bytes of the register: %x", got)
	}
	if got := read(0, 4); !slices.Equal(got, []byte{platform.GEDPowerButton, 0, 0, 0}) {
		t.Errorf("events %x", got)
	}
	if got := read(0, 4); slices.Max(got) != 0 {
		t.Errorf("events %x after they were taken", got)
	}
	m.err = errors.New("no pin")
	if err := m.PressPowerButton(); !errors.Is(err, m.err) || !strings.Contains(err.Error(), "power button") {
		t.Errorf("PressPowerButton: %v", err)
	}
}

// TestButtonReachesTheGuest joins the parts between the button and the local
// APIC.
func TestButtonReachesTheGuest(t *testing.T) {
	var sent []uint32
	chip := ioapic.New(func(_ uint64, data uint32) error { sent = append(sent, data); return nil })
	c := New(Config{Raise: func() error { return chip.Raise(platform.GEDPin) }})
	if err := c.PressPowerButton(); err != nil {
		t.Fatal(err)
	}
	if len(sent) != 0 {
		t.Fatal("the pin is not masked")
	}
	chip.Write(0, []byte{0x10 + 2*platform.GEDPin, 0, 0, 0})
	chip.Write(0x10, []byte{0x29, 0, 0, 0})
	if !slices.Equal(sent, []uint32{0x29}) {
		t.Errorf("sent %#x", sent)
	}
}

func TestSaveRestore(t *testing.T) {
	from, to := newMachine(t), newMachine(t)
	if err := from.PressPowerButton(); err != nil {
		t.Fatal(err)
	}
	if err := to.Restore(from.Save()); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if to.ports.Read(platform.PortGED, p); p[0] != platform.GEDPowerButton {
		t.Errorf("events %x", p)
	}
	if len(to.did) != 0 {
		t.Errorf("Restore did %v", to.did)
	}
	for _, bad := range []State{{Version: 2}, {Version: StateVersion, Pending: 2}} {
		if err := to.Restore(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// FuzzPorts lets a guest access the ports in any way. Each access is 3 bytes.
func FuzzPorts(f *testing.F) {
	f.Add([]byte{0, 0, 0x34, 4, 0, 1, 0x88, 3, 0})
	f.Add([]byte{0x87, 1, 0}) // across the start of the event register
	f.Add([]byte{0x81, 7, 0, 0x8b, 0, 0, 0xb, 1, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMachine(t)
		pending := true
		if err := m.PressPowerButton(); err != nil {
			t.Fatal(err)
		}
		for ; len(data) >= 3; data = data[3:] {
			port := Base + uint64(data[0]&0x7f)
			p := slices.Repeat(data[2:3], int(data[1]%4)+1)
			if data[0]&0x80 == 0 {
				m.ports.Write(port, p)
				continue
			}
			if !m.ports.Read(port, p) || port > platform.PortGED || port+uint64(len(p)) <= platform.PortGED {
				continue
			}
			if got := p[platform.PortGED-port] != 0; got != pending {
				t.Fatalf("event read as %v, was %v", got, pending)
			}
			pending = false
		}
		if got := m.Save().Pending != 0; got != pending {
			t.Errorf("event pending is %v, want %v", got, pending)
		}
	})
}
