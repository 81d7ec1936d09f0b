// Package virtiopci is the PCI transport of virtio devices, modern only (virtio
// 1.2, section 4.1).
//
// A Transport is one PCI function. Its single BAR holds the common configuration,
// the ISR byte, the device's configuration, the notification registers, and the
// MSI-X table and pending bits, each in a page of its own. Configuration and
// negotiation run on vCPU threads. Data does not: every queue has a notification
// register of its own with an ioeventfd on it, and an interrupt vector that the
// device signals by an eventfd, so that neither a kick nor an interrupt passes
// through this package.
//
// # Status
//
// The driver climbs ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK. A write that
// takes bits away, other than zero for reset, or leaves a step out, is ignored:
// the driver sees it when it reads back. FEATURES_OK is refused when the driver
// accepted what was not offered or lacks VERSION_1. At DRIVER_OK the device is
// activated. Reset stops the device before the write returns, on the vCPU that
// wrote.
//
// A queue that cannot work (a size that is no power of two, rings out of memory
// or out of alignment) and a device that calls Activation.Fail have the same
// result: DEVICE_NEEDS_RESET, a configuration interrupt, and the OnError callback.
// A reset by the driver makes the device good again.
//
// # Interrupts
//
// An interrupt source is a queue or the configuration. Each has a Vector of its
// own for ever; the driver's choice of MSI-X entry only decides which message the
// Vector sends. A source is programmed while MSI-X is on, its entry is chosen and
// nothing masks it. Otherwise it is masked, and signals accumulate in its eventfd,
// which is what the pending bit shows and what is delivered at unmasking. Without
// MSI-X the ISR byte tells a polling driver; there is no interrupt pin.
//
// # Locks
//
// One mutex a Transport guards all registers and serializes calls to the Device.
// It comes after the lock of package pci. Fail and ConfigChanged take no lock,
// because devices call them from goroutines that Reset waits for.
package virtiopci
