// Package initramfs builds the root file system of a Gozen host: an archive
// that the kernel unpacks into memory.
//
// It holds our static programs, the kernel modules of hypervisor/kernel with
// their index files, mkfs.xfs for blank data disks, and a few lines of
// configuration. There is no shell in it; the debug variant adds u-root's.
//
//	/init                       -> bin/gozen-init
//	/bin/gozen-init, gozend, vmm
//	/lib/modules/RELEASE/…      modules, uncompressed, and their indexes
//	/etc/gozen/modules.load     modules to load at boot, in order, one a line
//	/sbin/mkfs.xfs              Debian's, with its libraries
//
// The archive is the same for the same input: sorted, without times, owners and
// inode numbers. Modules are stored uncompressed: the archive is compressed as a
// whole, which is both smaller and faster to load than single compressed files.
//
// A seed travels in a second archive (WriteSeed), which a boot loader appends:
// the kernel unpacks archives one after another.
package initramfs
