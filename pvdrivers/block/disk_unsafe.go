package block

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// appendIovecs appends segs to iovs. The segments lie in guest memory, which is
// mapped for as long as a device is active and which the collector does not
// know, so a pointer to it in an Iovec needs nothing to keep it valid.
func appendIovecs(iovs []unix.Iovec, segs [][]byte) []unix.Iovec {
	for _, s := range segs {
		iovs = append(iovs, unix.Iovec{Base: unsafe.SliceData(s), Len: uint64(len(s))})
	}
	return iovs
}

// advance returns iovs without their first n bytes; n is at most their sum.
func advance(iovs []unix.Iovec, n int) []unix.Iovec {
	for len(iovs) > 0 && uint64(n) >= iovs[0].Len {
		n -= int(iovs[0].Len)
		iovs = iovs[1:]
	}
	if n > 0 {
		// n is less than the vector's length, so the sum stays inside its segment.
		iovs[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(iovs[0].Base), n))
		iovs[0].Len -= uint64(n)
	}
	return iovs
}

// preadv2 and pwritev2 are the calls of that name without the copy of the vector
// that the unix package makes. The offset goes in one register on 64-bit
// machines, the high half then being ignored.

func preadv2(fd int, iovs []unix.Iovec, off int64, flags int) (int, error) {
	return vector(unix.SYS_PREADV2, fd, iovs, off, flags)
}

func pwritev2(fd int, iovs []unix.Iovec, off int64, flags int) (int, error) {
	return vector(unix.SYS_PWRITEV2, fd, iovs, off, flags)
}

func vector(trap uintptr, fd int, iovs []unix.Iovec, off int64, flags int) (int, error) {
	// The kernel reads the vector during the call, which keeps it alive.
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iovs))),
		uintptr(len(iovs)), uintptr(off), 0, uintptr(flags))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// probeDevice reads the block device's size and block sizes.
func (d *disk) probeDevice() error {
	var bytes uint64
	// BLKGETSIZE64 writes one 64-bit number.
	if err := d.ioctl(unix.BLKGETSIZE64, unsafe.Pointer(&bytes)); err != nil {
		return fmt.Errorf("size of the block device: %w", err)
	}
	d.sectors = bytes / sectorBytes
	// BLKSSZGET writes an int, BLKPBSZGET an unsigned int.
	if err := d.ioctl(unix.BLKSSZGET, unsafe.Pointer(&d.logical)); err != nil {
		return fmt.Errorf("logical block size: %w", err)
	}
	if err := d.ioctl(unix.BLKPBSZGET, unsafe.Pointer(&d.physical)); err != nil {
		return fmt.Errorf("physical block size: %w", err)
	}
	d.physical = max(d.physical, d.logical)
	return nil
}

// rangeIoctl is BLKDISCARD or BLKZEROOUT: both take offset and length in bytes.
func (d *disk) rangeIoctl(req uint, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	return d.ioctl(req, unsafe.Pointer(&span))
}

// ioctl passes p to the kernel, which uses it during the call only.
func (d *disk) ioctl(req uint, p unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), uintptr(req), uintptr(p)); errno != 0 {
		return errno
	}
	return nil
}
