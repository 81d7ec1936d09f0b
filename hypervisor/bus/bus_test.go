package bus

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// cell is a device of plain bytes, which checks what the bus promises it.
type cell struct {
	t    testing.TB
	size uint64
	mu   sync.Mutex
	data map[uint64]byte
}

func newCell(t testing.TB, size uint64) *cell {
	return &cell{t: t, size: size, data: map[uint64]byte{}}
}

func (c *cell) Read(off uint64, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.check(off, p)
	for i := range p {
		p[i] = c.data[off+uint64(i)]
	}
}

func (c *cell) Write(off uint64, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.check(off, p)
	for i := range p {
		c.data[off+uint64(i)] = p[i]
	}
}

func (c *cell) check(off uint64, p []byte) {
	if off >= c.size || uint64(len(p)) > c.size-off {
		c.t.Errorf("access %#x+%d outside a range of %#x", off, len(p), c.size)
	}
}

func TestAccess(t *testing.T) {
	b := New()
	a, c := newCell(t, 0x10), newCell(t, 0x100)
	for _, r := range []struct {
		base uint64
		h    *cell
	}{{0x2000, c}, {0x1000, a}} {
		if err := b.Add(r.base, r.h.size, "cell", r.h); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		addr uint64
		n    int
		want bool
	}{
		{0xfff, 1, false}, {0x1000, 1, true}, {0x1008, 8, true}, {0x100f, 1, true},
		{0x100f, 2, false}, {0x1010, 1, false}, {0xffe, 4, false},
		{0x2000, 8, true}, {0x20ff, 1, true}, {0x2100, 1, false}, {0, 1, false}, {^uint64(0), 1, false},
	} {
		out := []byte{1, 2, 3, 4, 5, 6, 7, 8}[:tc.n]
		if got := b.Write(tc.addr, out); got != tc.want {
			t.Errorf("Write(%#x, %d bytes) = %v, want %v", tc.addr, tc.n, got, tc.want)
		}
		in := make([]byte, tc.n)
		if got := b.Read(tc.addr, in); got != tc.want {
			t.Errorf("Read(%#x, %d bytes) = %v, want %v", tc.addr, tc.n, got, tc.want)
		}
		want := out
		if !tc.want {
			want = bytes.Repeat([]byte{0xff}, tc.n)
		}
		if !bytes.Equal(in, want) {
			t.Errorf("Read(%#x) gave %x, want %x", tc.addr, in, want)
		}
	}
}

func TestChanges(t *testing.T) {
	b := New()
	h := newCell(t, 0x1000)
	if err := b.Add(0x1000, 0x1000, "first", h); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ base, size uint64 }{{0x1fff, 1}, {0xfff, 2}, {0x1000, 0x1000}, {0, 0x10000}} {
		if err := b.Add(r.base, r.size, "second", h); !errors.Is(err, ErrOverlap) {
			t.Errorf("Add(%#x, %#x): %v, want ErrOverlap", r.base, r.size, err)
		}
	}
	for _, r := range []struct{ base, size uint64 }{{0, 0}, {^uint64(0), 2}} {
		if err := b.Add(r.base, r.size, "bad", h); err == nil || errors.Is(err, ErrOverlap) {
			t.Errorf("Add(%#x, %#x): %v, want an error about the range", r.base, r.size, err)
		}
	}
	if err := b.Add(^uint64(0)-0xfff, 0x1000, "top", h); err != nil {
		t.Errorf("range at the top: %v", err)
	}
	if err := b.Move(0x1000, 0x1800); err != nil {
		t.Errorf("Move onto itself: %v", err)
	}
	if err := b.Move(0x1800, ^uint64(0)-0x10); err == nil {
		t.Error("Move to a wrapping range succeeded")
	}
	if !b.Read(0x1800, make([]byte, 4)) || b.Read(0x1000, make([]byte, 4)) {
		t.Error("the range is not where a failed Move left it")
	}
	if err := b.Remove(0x1801); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove inside a range: %v, want ErrNotFound", err)
	}
	if err := b.Remove(0x1800); err != nil {
		t.Error(err)
	}
	if b.Read(0x1800, make([]byte, 4)) {
		t.Error("a removed range answers")
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	b := New()
	for i := range uint64(16) {
		if err := b.Add(i*0x1000, 0x1000, "plain", plain{}); err != nil {
			t.Fatal(err)
		}
	}
	p := make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() { b.Read(0x7010, p); b.Write(0x8010, p) }); n != 0 {
		t.Errorf("%v allocations an access", n)
	}
}

type plain struct{}

func (plain) Read(uint64, []byte)  {}
func (plain) Write(uint64, []byte) {}

// TestModel compares the bus with a linear search over the same ranges.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := New()
		model := map[uint64]uint64{} // base to size
		holds := func(base, size, addr, n uint64) bool {
			return addr >= base && addr-base < size && n <= size-(addr-base)
		}
		free := func(base, size, except uint64) bool {
			for mb, ms := range model {
				if mb != except && base < mb+ms && mb < base+size {
					return false
				}
			}
			return true
		}
		small := rapid.Uint64Range(0, 64)
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				base, size := small.Draw(rt, "base"), rapid.Uint64Range(1, 16).Draw(rt, "size")
				want := free(base, size, ^uint64(0))
				if err := b.Add(base, size, "x", newCell(t, size)); (err == nil) != want {
					rt.Fatalf("Add(%d, %d): %v, model says %v", base, size, err, want)
				}
				if want {
					model[base] = size
				}
			},
			"move": func(rt *rapid.T) {
				from, to := small.Draw(rt, "from"), small.Draw(rt, "to")
				size, ok := model[from]
				want := ok && free(to, size, from)
				if err := b.Move(from, to); (err == nil) != want {
					rt.Fatalf("Move(%d, %d): %v, model says %v", from, to, err, want)
				}
				if want {
					delete(model, from)
					model[to] = size
				}
			},
			"remove": func(rt *rapid.T) {
				base := small.Draw(rt, "base")
				_, want := model[base]
				if err := b.Remove(base); (err == nil) != want {
					rt.Fatalf("Remove(%d): %v, model says %v", base, err, want)
				}
				delete(model, base)
			},
			"": func(rt *rapid.T) {
				addr, n := rapid.Uint64Range(0, 90).Draw(rt, "addr"), rapid.Uint64Range(1, 8).Draw(rt, "n")
				want := false
				for base, size := range model {
					want = want || holds(base, size, addr, n)
				}
				if got := b.Read(addr, make([]byte, n)); got != want {
					rt.Fatalf("Read(%d, %d) = %v, model says %v", addr, n, got, want)
				}
				if len(b.Ranges()) != len(model) {
					rt.Fatalf("%d ranges, model has %d", len(b.Ranges()), len(model))
				}
			},
		})
	})
}

// TestMoveWhileReading runs look-ups beside changes, for the race detector and
// for the promise that a look-up sees one whole table.
func TestMoveWhileReading(t *testing.T) {
	b := New()
	fixed := newCell(t, 8)
	if err := b.Add(0x8000, 8, "fixed", fixed); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(0, 8, "moving", newCell(t, 8)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			p := make([]byte, 8)
			for range 2000 {
				if !b.Read(0x8000, p) {
					t.Error("a range that never moved was not found")
					return
				}
				b.Read(0, p)
				b.Read(0x10000, p)
			}
		})
	}
	for range 200 {
		if err := errors.Join(b.Move(0, 0x10000), b.Move(0x10000, 0)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
