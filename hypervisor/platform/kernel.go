package platform

// KernelParameters tell Linux what gozen-1 does not have, so that it does not
// look for it: each look is an exit. They come before the guest's own command
// line, which may override them.
//
//   - pci=noearly: no early walk over PCI by ports 0xcf8 and 0xcfc, which nobody
//     answers. On processors that look like AMD's K8 (QEMU's software CPU does)
//     Linux searches all 256 buses for an AGP bridge there, 33,000 exits.
//   - 8250.nr_uarts=0: no search for serial ports. The early serial port, when
//     asked for, needs earlycon only.
const KernelParameters = "pci=noearly 8250.nr_uarts=0"

// CommandLine returns the kernel command line for a guest that asked for own.
func CommandLine(own string) string { return KernelParameters + " " + own }
