package net

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq as TUNGETIFF fills it: a name and flags.
type ifreq struct {
	_     structs.HostLayout
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// tapFlags returns the flags the tap was created with.
func tapFlags(fd int) (uint16, error) {
	var r ifreq
	// The kernel fills r, which is as large as its struct ifreq, during the call.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNGETIFF, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return 0, errno
	}
	return r.flags, nil
}

// appendIovec appends b to iovs. Guest memory is mapped for as long as a device
// is active; memory of Go's is kept alive by the pointer in the Iovec.
func appendIovec(iovs []unix.Iovec, b []byte) []unix.Iovec {
	return append(iovs, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
}

// writev is writev(2) without the copy of the vector that the unix package
// makes.
func writev(fd uintptr, iovs []unix.Iovec) error {
	// The kernel reads the vector during the call, which keeps it alive.
	_, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iovs))), uintptr(len(iovs)))
	if errno != 0 {
		return errno
	}
	return nil
}
