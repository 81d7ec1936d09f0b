package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

func in(s *Serial, off uint64) byte {
	p := []byte{0xee}
	s.Read(off, p)
	return p[0]
}

// TestEarlyConsole does what Linux's early console does, and checks what comes
// out.
func TestEarlyConsole(t *testing.T) {
	var out bytes.Buffer
	s := NewSerial(&out)
	put := func(off uint64, v byte) { s.Write(off, []byte{v}) }
	put(regLineControl, 0x03)
	put(regIntrEnable, 0)
	put(regIntrID, 0) // FIFO control
	put(regModemCtl, 0x03)
	put(regLineControl, 0x83)
	put(regData, 0x02)
	put(regIntrEnable, 0x01)
	if lo, hi := in(s, regData), in(s, regIntrEnable); lo != 2 || hi != 1 {
		t.Errorf("divisor %#x %#x", hi, lo)
	}
	put(regLineControl, 0x03)
	for _, c := range []byte("hello\r\n") {
		if in(s, regLineStatus)&lineEmpty != lineEmpty {
			t.Fatal("the transmitter is busy")
		}
		put(regData, c)
	}
	if got := out.String(); got != "hello\r\n" {
		t.Errorf("out came %q", got)
	}
}

func TestSerialRegisters(t *testing.T) {
	var out bytes.Buffer
	s := NewSerial(&out)
	for off := uint64(1); off < SerialPorts; off++ {
		s.Write(off, []byte{0x7f})
	}
	for off, want := range map[uint64]byte{
		regData: 0, regIntrID: 1, regLineControl: 0x7f, regModemCtl: 0x1f, regLineStatus: 0x60, regModemStatus: 0xb0, regScratch: 0x7f,
		regIntrEnable: 0, // which keeps full drivers away
	} {
		if got := in(s, off); got != want {
			t.Errorf("register %d reads %#x, want %#x", off, got, want)
		}
	}
	p := make([]byte, 4)
	s.Read(4, p)
	if !bytes.Equal(p, []byte{0x1f, 0x60, 0xb0, 0x7f}) {
		t.Errorf("four registers at once: %x", p)
	}
	s.Write(regData, []byte("ab"))
	if out.Len() != 0 {
		t.Errorf("a wide write sent %q", out.String())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("unplugged") }

func TestSerialSaveRestore(t *testing.T) {
	from := NewSerial(broken{})
	from.Write(regData, []byte{'x'})
	for off, v := range map[uint64]byte{regLineControl: 0x83, regModemCtl: 3, regScratch: 0x5a} {
		from.Write(off, []byte{v})
	}
	from.Write(regData, []byte{0x30})
	blob, err := json.Marshal(from.Save())
	if err != nil {
		t.Fatal(err)
	}
	var st State
	if err := json.Unmarshal(blob, &st); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	to := NewSerial(&out)
	if err := to.Restore(st); err != nil {
		t.Fatal(err)
	}
	for off := range uint64(SerialPorts) {
		if a, b := in(from, off), in(to, off); a != b {
			t.Errorf("register %d: %#x, was %#x", off, b, a)
		}
	}
	if out.Len() != 0 {
		t.Errorf("Restore sent %q", out.String())
	}
	for _, bad := range []State{{Version: 2}, {Version: 1, Modem: 0x80}} {
		if err := to.Restore(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// FuzzSerial lets a guest access the port in any way: it gets out exactly the
// bytes it wrote to the data register while the divisor latch was closed.
func FuzzSerial(f *testing.F) {
	f.Add([]byte{0, 'a', 3, 0x80, 0, 'b', 3, 0, 0, 'c', 0x85, 0, 0xc0, 1})
	f.Add([]byte{0x40, 'a', 1, 'b', 7, 'c'})
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		var want []byte
		s := NewSerial(&out)
		latch := false
		for ; len(data) >= 2; data = data[2:] {
			off, n := uint64(data[0]&7), 1
			if data[0]&0x40 != 0 && off%2 == 0 {
				n = 2
			}
			p := slices.Repeat(data[1:2], n)
			if data[0]&0x80 != 0 {
				s.Read(off, p)
				continue
			}
			s.Write(off, p)
			switch {
			case n == 1 && off == regLineControl:
				latch = data[1]&latchOpen != 0
			case n == 1 && off == regData && !latch:
				want = append(want, data[1])
			}
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("out came %q, want %q", out.Bytes(), want)
		}
	})
}

func TestPanic(t *testing.T) {
	for _, tc := range []struct {
		data []byte
		want []string
	}{
		{[]byte{0}, nil},
		{[]byte{1}, []string{"panicked"}},
		{[]byte{2}, []string{"crash loaded"}},
		{[]byte{3}, []string{"panicked", "crash loaded"}},
		{[]byte{0xfc}, nil},
	} {
		var got []string
		d := NewPanic(PanicConfig{
			Panicked:    func() { got = append(got, "panicked") },
			CrashLoaded: func() { got = append(got, "crash loaded") },
		})
		d.Write(0, tc.data)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%x: %v, want %v", tc.data, got, tc.want)
		}
		p := []byte{0xee}
		if d.Read(0, p); p[0] != 3 {
			t.Errorf("events understood: %#x", p[0])
		}
	}
}
