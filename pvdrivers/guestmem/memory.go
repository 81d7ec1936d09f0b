package guestmem

import (
	"errors"
	"fmt"
)

// ErrOutOfRange is returned for an address range that is not wholly inside one
// region of guest memory.
var ErrOutOfRange = errors.New("outside guest memory")

// Region is a contiguous range of guest-physical addresses backed by a range of
// the memfd.
type Region struct {
	GuestAddr uint64 // guest-physical, page-aligned
	Size      uint64 // bytes, a multiple of the page size
	Offset    uint64 // in the memfd, page-aligned
}

// Memory is a guest's memory. Its methods may be used from many goroutines.
type Memory struct {
	regions []mapping
}

type mapping struct {
	Region
	data []byte // the host's mapping
}

// Slice returns the host's view of guest memory from addr for length bytes. The
// guest can change it at any time. A zero length is in range anywhere.
func (m *Memory) Slice(addr, length uint64) ([]byte, error) {
	if length == 0 {
		return nil, nil
	}
	for i := range m.regions {
		r := &m.regions[i]
		if addr < r.GuestAddr {
			continue
		}
		off := addr - r.GuestAddr
		if off < r.Size && length <= r.Size-off {
			return r.data[off : off+length : off+length], nil
		}
	}
	return nil, fmt.Errorf("%#x+%#x: %w", addr, length, ErrOutOfRange)
}

// Regions returns the regions in rising order of guest address.
func (m *Memory) Regions() []Region {
	out := make([]Region, len(m.regions))
	for i := range m.regions {
		out[i] = m.regions[i].Region
	}
	return out
}

// Size is the sum of all regions in bytes.
func (m *Memory) Size() uint64 {
	var n uint64
	for i := range m.regions {
		n += m.regions[i].Size
	}
	return n
}
