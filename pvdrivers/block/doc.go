// Package block is the virtio block device (virtio 1.2, section 5.2): a disk in
// a regular file or on a block device of the host.
//
// A queue has an engine: a thread with an io_uring (package uring), which hands
// all new requests to the kernel and waits for completions and for the driver's
// next kick with one system call, and tells the driver of all that completed
// together with one interrupt. Requests are under way at once, up to a bound, and
// complete in any order, as a disk's do. The few that io_uring cannot do (discard,
// write-zeroes) go to workers.
//
// Where the kernel gives no io_uring, workers serve everything: a goroutine a
// queue takes requests out of it and hands them to a fixed set of workers, which
// the device's queues share, and up to Workers requests are served at once by
// preadv2 and pwritev2.
//
// Either way data moves straight between the file and guest memory, without a
// copy and without an allocation. If the descriptor has O_DIRECT (package
// directio), not even the host's page cache comes between, and only requests with
// memory that is not aligned for that go through a buffer, by a worker. An idle disk has no timer; an engine's thread
// sleeps in the kernel.
//
// # What is durable when
//
// A completed write is in the host's page cache, or, with direct I/O, in what the
// host's device calls written. A flush is fdatasync, issued
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
