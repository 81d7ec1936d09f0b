// Package platform is the virtual machine that guests see, gozen-1, as numbers.
//
// It is fixed: a saved guest names it, and a change of anything here that a
// guest can see needs a new platform. Guest-physical addresses:
//
//	0x00_0000_0000  RAM, up to 3 GiB
//	0x00_c000_0000  PCI memory window below 4 GiB, 512 MiB
//	0x00_e000_0000  PCI configuration space (ECAM), bus 0
//	0x00_fec0_0000  I/O APIC
//	0x00_fee0_0000  local APICs and MSI
//	0x00_fffb_c000  reserved for KVM (identity map and TSS, Intel only)
//	0x01_0000_0000  RAM above 3 GiB
//	0x40_0000_0000  PCI memory window, 128 GiB
//
// Everything fits 39 bits of guest-physical address, the least that processors
// with nested paging have.
package platform
