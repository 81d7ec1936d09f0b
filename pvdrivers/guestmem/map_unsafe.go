package guestmem

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map maps the regions of the memfd, in rising order of guest address.
// The descriptor may be closed afterwards.
func Map(fd int, regions []Region) (_ *Memory, err error) {
	m := &Memory{}
	defer func() {
		if err != nil {
			m.Unmap()
		}
	}()
	end := uint64(0)
	for _, r := range regions {
		if r.Size == 0 || r.GuestAddr < end || r.GuestAddr+r.Size < r.GuestAddr {
			return nil, fmt.Errorf("guest memory region %#x+%#x: empty, out of order or overlapping", r.GuestAddr, r.Size)
		}
		end = r.GuestAddr + r.Size
		data, err := unix.Mmap(fd, int64(r.Offset), int(r.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
		if err != nil {
			return nil, fmt.Errorf("map guest memory %#x+%#x: %w", r.GuestAddr, r.Size, err)
		}
		m.regions = append(m.regions, mapping{r, data})
	}
	return m, nil
}

// Unmap removes the mappings. No slice of the memory may be used afterwards.
func (m *Memory) Unmap() {
	for i := range m.regions {
		_ = unix.Munmap(m.regions[i].data)
	}
	m.regions = nil
}

// HostAddr returns the address of the region's mapping in this process, which
// KVM and vhost take. The mapping is not Go memory and does not move.
func (m *Memory) HostAddr(region int) uintptr {
	// A number for the kernel, never turned back into a pointer.
	return uintptr(unsafe.Pointer(unsafe.SliceData(m.regions[region].data)))
}
