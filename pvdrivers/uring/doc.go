// Package uring is the little of io_uring that a disk needs: vectored reads and
// writes, fdatasync, and waiting for eventfds, all from one thread (Linux,
// include/uapi/linux/io_uring.h; the protocol is told in io_uring(7)).
//
// A Ring belongs to the thread that made it (IORING_SETUP_SINGLE_ISSUER): a
// goroutine that locked itself to its thread makes it, prepares operations, calls
// Enter, which hands them to the kernel and waits, and takes the completions.
// Completions are made ready inside Enter only (IORING_SETUP_DEFER_TASKRUN), so
// the kernel interrupts no thread for them and any number costs one system call.
//
// # Confinement
//
// New does everything that needs io_uring_setup, io_uring_register and mmap.
// Afterwards a Ring needs io_uring_enter only, always with EnterFlags. A ring
// would be a way around a filter of system calls, which does not see what is in
// it; so before it is enabled, it is restricted to the operations above
// (IORING_REGISTER_RESTRICTIONS), each of which is also allowed as a system call
// of its own, and to no registration.
//
// Files are named by their descriptors. Registered files would save the kernel
// two atomic operations a request, but a ring is taken apart some time after its
// process has ended, and until then they, and the locks on them, would stay.
package uring
