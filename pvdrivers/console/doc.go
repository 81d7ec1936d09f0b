// Package console is the virtio console device with one port (virtio 1.2,
// section 5.3).
//
// Output of the guest goes to a Sink, which takes bytes without waiting: a slow
// reader of the log must not stop the guest's kernel, which may write to its
// console with interrupts off.
//
// Input of an admin goes through a bounded queue. When the guest does not read,
// WriteInput waits, and with it the connection that the bytes came from: input is
// delayed but never lost. What is queued stays queued over a reset of the device,
// because the reset is the guest's driver starting over, not the admin going away.
//
// There is no moment at which a one-port console tells the host that it was
// opened: the driver fills the input queue when it is loaded. The nearest thing
// that can be seen is output, so the Sink sees each piece of it as it comes and
// decides for itself what to conclude.
package console
