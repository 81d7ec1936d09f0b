// Package vsock is the virtio socket device (virtio 1.2, section 5.10), served
// by the kernel's vhost-vsock.
//
// The kernel moves what flows in the receive and transmit queues; dom0 and other
// processes of the host reach the guest by AF_VSOCK sockets to its CID. Here is
// only what the kernel leaves to the vmm: configuration space with the CID, and
// the event queue. The one event there is, transport reset, tells a restored
// guest that its connections are gone, as their other ends live in a kernel that
// knows nothing of them.
package vsock
