// Package cmdline is the kernel command line of a Gozen host, for everything
// that boots one: the EFI file, the QEMU launcher, the documentation of PXE.
//
// What the supervisor and the daemon need to know comes in the seed, not here.
package cmdline

// base holds what every host has:
//
//   - panic=10: a kernel that panics, or lost its PID 1, starts the machine again
//     after ten seconds, so that guests with autostart come back by themselves.
//   - intel_iommu=on: AMD's is on by default; passthrough and isolation need one.
const base = "panic=10 intel_iommu=on"

// Nested is for a machine whose console is the first serial port.
const Nested = base + " console=ttyS0"

// Real is for a real machine: kernel messages go to screen and serial port, and
// the screen, named last, is /dev/console.
const Real = base + " console=ttyS0,115200 console=tty0"
