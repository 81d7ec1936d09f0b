// Package system holds the whole-system tests: the real image, booted in QEMU,
// managed through the real API by the real clients, running real guests.
//
// They need the tag system and what `make image guests` builds. Everything stays
// on this machine: the emulated host's network reaches nothing but a port on the
// loopback address.
//
// Most tests share one boot of the host (TestHost), because a boot is what costs
// time; those that cut power or boot in another way have a host of their own.
package system
