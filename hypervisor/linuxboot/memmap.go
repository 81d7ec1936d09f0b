package linuxboot

import (
	"gozen/hypervisor/platform"
	"gozen/pvdrivers/guestmem"
)

// RangeType is what a range of addresses is (ACPI 6.5, table 15.4). PVH uses the
// same numbers.
type RangeType uint32

// Types of address range.
const (
	RangeRAM      RangeType = 1
	RangeReserved RangeType = 2
)

// Range is an entry of the memory map that the kernel is given.
type Range struct {
	Addr, Size uint64 // guest-physical, bytes
	Type       RangeType
}

// MemoryMap returns the map for a guest with that memory. What is in no range is
// free for devices.
func MemoryMap(memory []guestmem.Region) []Range {
	var out []Range
	reserved := []Range{
		{platform.ECAMBase, platform.ECAMSize, RangeReserved},
		{platform.KVMIdentityMap, platform.KVMTSS + 3*pageSize - platform.KVMIdentityMap, RangeReserved},
	}
	for _, r := range memory {
		for len(reserved) > 0 && reserved[0].Addr < r.GuestAddr {
			out, reserved = append(out, reserved[0]), reserved[1:]
		}
		if r.GuestAddr != 0 {
			out = append(out, Range{r.GuestAddr, r.Size, RangeRAM})
			continue
		}
		out = append(out, Range{0, lowAreaEnd, RangeRAM}, Range{ACPIBase, ACPISize, RangeReserved},
			Range{minLoadAddr, r.Size - minLoadAddr, RangeRAM})
	}
	return append(out, reserved...)
}
