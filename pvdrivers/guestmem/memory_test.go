package guestmem

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

const page = 4096

func testMemory(t testing.TB, regions ...Region) *Memory {
	t.Helper()
	var size uint64
	for _, r := range regions {
		size = max(size, r.Offset+r.Size)
	}
	fd, err := unix.MemfdCreate("guestmem-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	m, err := Map(fd, regions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Unmap)
	return m
}

func TestSliceStaysInsideOneRegion(t *testing.T) {
	m := testMemory(t,
		Region{GuestAddr: page, Size: 2 * page},
		Region{GuestAddr: 3 * page, Size: page, Offset: 2 * page}, // adjacent to the first
		Region{GuestAddr: 1 << 32, Size: page, Offset: 3 * page},
	)
	for _, c := range []struct {
		name      string
		addr, len uint64
		ok        bool
	}{
		{"whole region", page, 2 * page, true},
		{"last byte", 3*page - 1, 1, true},
		{"high region", 1 << 32, page, true},
		{"nothing, anywhere", math.MaxUint64, 0, true},
		{"below", page - 1, 1, false},
		{"begins below", page - 1, 2, false},
		{"one too long", page, 2*page + 1, false},
		{"across adjacent regions", 3*page - 1, 2, false},
		{"hole", 5 * page, 1, false},
		{"past the end", 1<<32 + page, 1, false},
		{"sum wraps", 1<<32 + 1, math.MaxUint64, false},
		{"address at the top", math.MaxUint64, 2, false},
	} {
		b, err := m.Slice(c.addr, c.len)
		switch {
		case c.ok && (err != nil || uint64(len(b)) != c.len || cap(b) != len(b)):
			t.Errorf("%s: len %d cap %d, %v", c.name, len(b), cap(b), err)
		case !c.ok && !errors.Is(err, ErrOutOfRange):
			t.Errorf("%s: got %d bytes, %v; want ErrOutOfRange", c.name, len(b), err)
		}
	}
}

func TestMapRefusesBadRegions(t *testing.T) {
	fd, err := unix.MemfdCreate("guestmem-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4*page); err != nil {
		t.Fatal(err)
	}
	for name, regions := range map[string][]Region{
		"empty":        {{}},
		"out of order": {{GuestAddr: page, Size: page}, {Size: page, Offset: page}},
		"overlapping":  {{Size: 2 * page}, {GuestAddr: page, Size: page, Offset: 2 * page}},
		"wraps":        {{GuestAddr: math.MaxUint64 - page + 1, Size: 2 * page}},
	} {
		if m, err := Map(fd, regions); err == nil {
			m.Unmap()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOrderedAccessors(t *testing.T) {
	m := testMemory(t, Region{Size: page})
	b, err := m.Slice(0, 32)
	if err != nil {
		t.Fatal(err)
	}
	Store16(b[2:], 0xbeef)
	StoreFence16(b[4:], 0xcafe)
	Store64(b[8:], 0x0102030405060708)
	if got := Load16(b[2:]); got != 0xbeef || binary.LittleEndian.Uint16(b[2:]) != 0xbeef {
		t.Errorf("Store16, Load16: %#x", got)
	}
	if got := Load16(b[4:]); got != 0xcafe {
		t.Errorf("StoreFence16: %#x", got)
	}
	if got := binary.LittleEndian.Uint64(b[8:]); got != 0x0102030405060708 {
		t.Errorf("Store64: %#x", got)
	}
	lo, hi := Load128(b)
	if lo != binary.LittleEndian.Uint64(b) || hi != 0x0102030405060708 {
		t.Errorf("Load128: %#x %#x", lo, hi)
	}
	if b[0] != 0 || b[1] != 0 || b[6] != 0 || b[7] != 0 || b[16] != 0 {
		t.Errorf("a store left its bytes: % x", b)
	}
}

func TestOrderedAccessorsCheckLength(t *testing.T) {
	m := testMemory(t, Region{Size: page})
	end, err := m.Slice(page-16, 16)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Load16":       func() { Load16(end[15:]) },
		"Store16":      func() { Store16(end[15:], 1) },
		"StoreFence16": func() { StoreFence16(end[15:], 1) },
		"Load128":      func() { Load128(end[1:]) },
		"Store64":      func() { Store64(end[9:], 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s went past its slice", name)
				}
			}()
			f()
		}()
	}
}

// Two sides that each publish and then look at the other's word must never both
// miss the other: that is what StoreFence16 promises and notification
// suppression needs. With Store16 in its place this test fails on two
// cores.
func TestStoreFenceOrdersStoreBeforeLoad(t *testing.T) {
	const rounds = 1 << 14
	const line = 64
	m := testMemory(t, Region{Size: 2 * line * rounds})
	b, err := m.Slice(0, 2*line*rounds)
	if err != nil {
		t.Fatal(err)
	}
	clear(b) // fault the pages in, so that both sides run at one pace
	var at [2]atomic.Int64
	saw := [2][]uint16{make([]uint16, rounds), make([]uint16, rounds)}
	var done sync.WaitGroup
	for side := range at {
		done.Go(func() {
			for i := range rounds {
				mine, other := b[line*(2*i+side):], b[line*(2*i+1-side):]
				at[side].Store(int64(i))
				for spins := 0; at[1-side].Load() < int64(i); spins++ {
					if spins%1024 == 1023 {
						runtime.Gosched()
					}
				}
				StoreFence16(mine, 1)
				saw[side][i] = Load16(other)
			}
			at[side].Store(rounds)
		})
	}
	done.Wait()
	for i := range rounds {
		if saw[0][i] == 0 && saw[1][i] == 0 {
			t.Fatalf("round %d: each side missed the other's store", i)
		}
	}
}
