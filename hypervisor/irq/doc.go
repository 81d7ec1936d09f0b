// Package irq gives devices interrupts that reach the guest without leaving the
// kernel.
//
// A Vector is an eventfd that KVM listens to (irqfd): whoever writes to it, a
// thread of the vmm or a vhost worker, interrupts the guest. Which interrupt
// that is, the guest decides when it programs its MSI-X table; a Router holds
// what it decided for all vectors of a guest and keeps KVM's routing table the
// same.
//
// Replacing the table makes the kernel wait for all its readers, so it is done
// only when a vector that is unmasked gets a message that the table does not
// have yet. Messages that drivers write while a vector is still masked are
// collected with Prepare and go along with the next replacement.
//
// A masked Vector is not connected: signals stay in its eventfd and are
// delivered when it is unmasked, as the PCI specification asks of a pending bit
// (PCI Local Bus 3.0, 6.8.3.5).
package irq
