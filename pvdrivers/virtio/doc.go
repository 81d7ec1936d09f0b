// Package virtio says what a paravirtual device is, apart from how the guest
// reaches it.
//
// A Device offers features and queues and serves configuration space. The
// transport (virtio over PCI, in hypervisor/virtiopci) negotiates with the
// guest's driver and then activates the device with what was agreed: guest
// memory, the queues' addresses, and for each queue one eventfd the guest rings
// (kick) and one that interrupts the guest (call). From then on data flows
// between backend and guest without the transport and without a vCPU thread.
//
// A device that finds its driver breaking the rules calls Activation.Fail: the
// transport sets DEVICE_NEEDS_RESET and tells the driver and dom0. Nothing else
// suffers.
package virtio
