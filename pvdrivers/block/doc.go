// Package block is the virtio block device (virtio 1.2, section 5.2): a disk in
// a regular file or on a block device of the host.
//
// A queue has one goroutine that takes requests out of it and hands them to a
// fixed set of workers, which the device's queues share. So up to Workers
// requests are served at once and complete in any order, as a disk's do. Data
// moves by preadv2 and pwritev2 straight between the file and guest memory: no
// copy, no allocation, and one system call a request when the file serves it
// whole. An idle disk has no thread and no timer.
//
// # What is durable when
//
// A completed write is in the host's page cache. A flush is fdatasync, issued
// after the flush request was taken, so it covers every write the driver had
// seen complete by then; a failed one is reported to the guest. A driver that did
// not accept VIRTIO_BLK_F_FLUSH has no way to ask, so its writes are written
// through (RWF_DSYNC). Reads and everything else never sync.
//
// # What can go wrong
//
// An error of the host's file, a full file system among them, is an I/O error of
// that request (VIRTIO_BLK_S_IOERR) and nothing else: the guest goes on. So is a
// request outside the disk or a write to a read-only one. Only a request without
// room for a header or a status byte cannot be answered at all; it puts the
// device in error, as does a broken ring.
package block
