// Package ioapic is the I/O APIC of a guest (Intel 82093AA datasheet), in user
// space: the kernel emulates local APICs only, and each interrupt goes to them as
// the message that the redirection entry describes.
//
// Only rare events use it, the Generic Event Device above all. Devices have
// MSI-X.
//
// All pins are edge-triggered: Raise is one rising edge. An entry that the guest
// programs as level-triggered works the same; the remote IRR bit stays clear and
// no end-of-interrupt is needed. Unlike the datasheet's chip, a masked pin keeps
// one edge until it is unmasked, so that an event during boot is not lost.
package ioapic
