// Package net is the virtio network device (virtio 1.2, section 5.1) with one
// pair of queues, on a tap of the host.
//
// It has two data paths that a guest cannot tell apart. With Config.Vhost the
// kernel's vhost-net moves the frames and this package only sets it up. Without
// it, two goroutines do:
//
//	transmit   queue → check the header → writev to the tap, no copy
//	receive    tap → host buffer → as many of the guest's buffers as it takes
//
// Both paths use the tap's own virtio-net header (IFF_VNET_HDR, 12 bytes), so
// checksums and segmentation that the guest leaves to the device are done by the
// host's kernel, and frames between two guests are never segmented at all.
//
// # When the guest has no buffer
//
// The receive path holds one frame and waits for the driver's notification; it
// does not spin and does not read on. Frames then wait in the tap's own queue,
// which is bounded, and the kernel drops what does not fit there. A frame that
// could never fit the driver's buffers is dropped and counted.
//
// # What the guest may send
//
// The header is copied before it is checked, so the guest cannot change it
// afterwards. A frame that is shorter than an Ethernet header or longer than the
// largest IP packet with one, or whose header asks for what was not negotiated,
// is dropped and counted; the guest goes on. A header that passes is still the
// guest's word: the kernel checks it again.
package net
