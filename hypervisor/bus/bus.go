package bus

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

var (
	// ErrOverlap is returned for a range that touches one already there.
	ErrOverlap = errors.New("range overlaps")
	// ErrNotFound is returned for a base at which no range starts.
	ErrNotFound = errors.New("no such range")
)

// Handler serves a range. Both methods are called on vCPU threads, by several of
// them at once: each Handler locks for itself. off is relative to the range's
// base, and off+len(p) never exceeds the range's size. p is little-endian as the
// guest sees it, 1 to 8 bytes, and must not be kept.
type Handler interface {
	// Read fills all of p.
	Read(off uint64, p []byte)
	// Write takes p.
	Write(off uint64, p []byte)
}

// Range is a claimed range of addresses or ports.
type Range struct {
	Base uint64
	Size uint64 // bytes
	Name string // for messages: "virtio-blk0 bar"
}

type entry struct {
	Range
	handler Handler
}

// Bus maps addresses to handlers. The zero value is an empty bus.
type Bus struct {
	mu    sync.Mutex // serializes changes of table
	table atomic.Pointer[[]entry]
}

// New returns an empty bus.
func New() *Bus { return &Bus{} }

// Add claims size bytes from base for h. It fails with ErrOverlap when another
// range is in the way.
func (b *Bus) Add(base, size uint64, name string, h Handler) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.install(b.entries(), entry{Range{base, size, name}, h})
}

// Remove gives back the range that starts at base.
func (b *Bus) Remove(base uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, rest, err := b.without(base)
	if err != nil {
		return err
	}
	b.table.Store(&rest)
	return nil
}

// Move gives the range that starts at from a new base, in one step. On an error
// the range stays where it was.
func (b *Bus) Move(from, to uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, rest, err := b.without(from)
	if err != nil {
		return err
	}
	e.Base = to
	return b.install(rest, e)
}

// Read carries out a guest's read of len(p) bytes at addr. When no range holds
// the whole access it fills p with ones, as an unclaimed bus does, and returns
// false.
func (b *Bus) Read(addr uint64, p []byte) bool {
	e := b.lookup(addr, len(p))
	if e == nil {
		for i := range p {
			p[i] = 0xff
		}
		return false
	}
	e.handler.Read(addr-e.Base, p)
	return true
}

// Write carries out a guest's write of p at addr. It returns false, and nothing
// happens, when no range holds the whole access.
func (b *Bus) Write(addr uint64, p []byte) bool {
	e := b.lookup(addr, len(p))
	if e == nil {
		return false
	}
	e.handler.Write(addr-e.Base, p)
	return true
}

// Ranges returns what is claimed, in rising order of base.
func (b *Bus) Ranges() []Range {
	var out []Range
	for _, e := range b.entries() {
		out = append(out, e.Range)
	}
	return out
}

func (b *Bus) entries() []entry {
	if t := b.table.Load(); t != nil {
		return *t
	}
	return nil
}

// install publishes table plus e. The table is copied, because vCPUs may be
// reading the one that is published.
func (b *Bus) install(table []entry, e entry) error {
	if e.Size == 0 || e.Base+e.Size-1 < e.Base {
		return fmt.Errorf("%s: range %#x+%#x is empty or wraps", e.Name, e.Base, e.Size)
	}
	i, _ := slices.BinarySearchFunc(table, e.Base, byBase)
	if i > 0 && table[i-1].Base+(table[i-1].Size-1) >= e.Base {
		return overlap(e, table[i-1])
	}
	if i < len(table) && e.Base+(e.Size-1) >= table[i].Base {
		return overlap(e, table[i])
	}
	next := slices.Insert(slices.Clone(table), i, e)
	b.table.Store(&next)
	return nil
}

func (b *Bus) without(base uint64) (entry, []entry, error) {
	table := b.entries()
	i, ok := slices.BinarySearchFunc(table, base, byBase)
	if !ok {
		return entry{}, nil, fmt.Errorf("%#x: %w", base, ErrNotFound)
	}
	return table[i], slices.Delete(slices.Clone(table), i, i+1), nil
}

// lookup finds the range that holds n bytes from addr.
func (b *Bus) lookup(addr uint64, n int) *entry {
	t := b.table.Load()
	if t == nil {
		return nil
	}
	table := *t
	lo, hi := 0, len(table) // the first entry above addr is in [lo, hi]
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if table[mid].Base <= addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return nil
	}
	e := &table[lo-1]
	off := addr - e.Base
	if off >= e.Size || uint64(n) > e.Size-off {
		return nil
	}
	return e
}

func byBase(e entry, base uint64) int {
	switch {
	case e.Base < base:
		return -1
	case e.Base > base:
		return 1
	}
	return 0
}

func overlap(e, with entry) error {
	return fmt.Errorf("%s: range %#x+%#x: %w %s at %#x+%#x",
		e.Name, e.Base, e.Size, ErrOverlap, with.Name, with.Base, with.Size)
}
