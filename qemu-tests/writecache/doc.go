// Package writecache is a disk that loses what was not flushed when its power is
// cut, as real disks with a volatile write cache do.
//
// A killed QEMU is no power cut for a disk kept in a file: all that it wrote is in
// the page cache of the machine that runs it, flushed or not. A test of flushes on
// such a disk passes even if every flush is ignored on the way. So this disk is an
// NBD server in the test's process, and QEMU its client. What was written stays in
// memory (cache) until a flush, or a write that asks to be durable (FUA), moves it
// to the file. Disk.Cut throws a random part of the rest away, or all of it.
//
// Whatever the protocol lets a disk lose, this one may lose:
//
//   - Each block of 4 KiB survives or is lost by itself, whatever the order of the
//     writes and whichever of them belonged to one request. A block is not torn:
//     file systems rely on that, and disks with physical blocks of that size keep it.
//   - Of a block that was written more than once, any version since the last flush
//     may be the one that survives.
//   - A discard takes effect at once, since the content is undefined from then on.
//
// The protocol is the baseline one: fixed newstyle negotiation, one export, simple
// replies (the NBD project's doc/proto.md).
package writecache
