package kvm

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl is ioctl(2) with a pointer, for everything but KVM_RUN. arg points to
// the type that req names; the conversion to uintptr stands in the call itself,
// which keeps the object where it is (unsafe.Pointer, rule 4). A call that a
// signal interrupted is repeated: these requests either happened or did not.
func ioctl(fd int, req uintptr, name string, arg unsafe.Pointer) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(arg))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("%s: %w", name, errno)
		}
	}
}

// ioctlPtr is ioctl for a request whose argument is a *T. T holds no Go
// pointers: it is one of the structs of the ABI, or a number.
func ioctlPtr[T any](fd int, req uintptr, name string, arg *T) (int, error) {
	return ioctl(fd, req, name, unsafe.Pointer(arg))
}

// flexible allocates what C calls a struct with a flexible array member: a
// header H followed by n entries E, for the kernel to read or write. Neither
// type holds Go pointers, H's size is a multiple of E's alignment, and both need
// at most the alignment of a uint64.
func flexible[H, E any](n int) (header *H, entries []E) {
	var h H
	var e E
	size := unsafe.Sizeof(h) + uintptr(n)*unsafe.Sizeof(e)
	buf := make([]uint64, (size+7)/8)
	// buf is large enough for the header and the n entries behind it, and the
	// returned pointers keep it alive.
	header = (*H)(unsafe.Pointer(unsafe.SliceData(buf)))
	if n > 0 {
		entries = unsafe.Slice((*E)(unsafe.Add(unsafe.Pointer(header), unsafe.Sizeof(h))), n)
	}
	return header, entries
}

// address is a slice's address for a field of a struct that the kernel reads.
// The caller keeps the slice alive over the ioctl.
func address[T any](s []T) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(s))))
}
