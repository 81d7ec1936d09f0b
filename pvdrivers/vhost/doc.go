// Package vhost drives the kernel's own virtio backends: vhost-net and
// vhost-vsock.
//
// A vhost instance is one open of /dev/vhost-net or /dev/vhost-vsock. It works
// on the address space of the process that called SetOwner, so the vmm, not
// dom0, sets it up; dom0 only opens the file. The order is the kernel's:
//
//	Open, SetOwner, SetFeatures, SetMemory,
//	SetQueue for each queue,
//	SetNetBackend for each queue, or SetGuestCID and SetRunning
//
// and for the way back
//
//	SetNetBackend(queue, NoFile) for each queue, or SetRunning(false)
//	QueueBase for each queue
//
// after which the kernel no longer touches guest memory and a later SetQueue
// goes on at the index that QueueBase returned. SetMemory may be repeated while
// the queues are stopped.
//
// The names and numbers are those of linux/vhost.h and linux/vhost_types.h of
// Linux 6.12; the tests of hypervisor/abi compare them with the kernel's own
// headers.
package vhost
