// Package pci is the PCI bus of a guest: bus 0 with up to 32 devices of one
// function each, reached through the enhanced configuration access mechanism
// (ECAM, PCI Express Base Specification, 7.2.2).
//
// Configuration space lives in host memory that the machine maps to the guest
// as a read-only memory slot. A guest therefore reads it without leaving guest
// mode, and enumeration costs exits only for what it writes. A write does leave
// the guest: it goes through the function's write masks, changes the memory, and
// then has its effect: a BAR starts, stops or moves, or the owner of the bytes
// is told.
//
// Sizing a BAR needs no special case. The size bits are not writable, so all
// ones written read back as the size mask, and a half-written or impossible
// address is merely not decoded: a BAR answers only while memory decoding is on
// and it lies wholly inside one of the host bridge's windows, where nothing else
// answers.
//
// There are no interrupt pins and no I/O BARs: interrupts are MSI-X only.
//
// Locks: the root complex has one mutex for writes, and calls the hooks of
// functions with it held. A hook may take its device's lock; a device must not
// call this package with that lock held.
package pci
