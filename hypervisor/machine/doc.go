// Package machine is a guest's virtual machine, platform gozen-1, put together.
//
// New builds the machine paused from a complete description: memory, interrupt
// controllers, processors, the PCI bus with its virtio devices, ACPI, and the
// kernel loaded into memory. Run lets it go and returns how it ended. A machine
// that starts from a saved state is built the same way and then given the state.
//
// # Ends
//
// A guest ends in one of several ways: it switches itself off, resets, panics,
// a processor gives up, dom0 stops it. The first of them is the Outcome, and
// there is exactly one. Whoever sees an end, often a vCPU in the middle of an
// access, notes it and asks all vCPUs to stop; Run then takes the machine apart:
// vCPUs first, so that nothing changes any more, then the devices, which finish
// what they have begun.
//
// # PCI slots
//
// A device is always in the same slot, whatever other devices a guest has, so
// that the guest's names for it stay:
//
//	0       host bridge
//	1       console
//	2       entropy
//	3       vsock
//	4-19    disks
//	20-27   network devices
//
// # Command line
//
// The machine hands the kernel exactly the command line that it is given. What
// saves exits, such as 8250.nr_uarts=0, is the caller's choice.
package machine
