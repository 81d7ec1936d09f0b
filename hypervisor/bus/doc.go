// Package bus finds who answers a guest's access to an address or a port.
//
// A machine has one bus for memory-mapped I/O and one for ports. Devices claim
// ranges; a vCPU that left the guest because of an access asks the bus to carry
// it out. Look-ups take no lock: they read a sorted table that is replaced as a
// whole whenever a range is added, moved or removed, which happens at start and
// when the guest's firmware or kernel moves a PCI BAR, never on a data path.
//
// After Remove or Move a vCPU that looked the range up just before may still be
// inside the handler, as on a real bus, so handlers must outlive their ranges.
package bus
