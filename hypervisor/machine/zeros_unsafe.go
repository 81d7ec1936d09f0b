package machine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeros is memory that reads as zero and is never written.
type zeros []byte

func newZeros(size int) (zeros, error) {
	z, err := unix.Mmap(-1, 0, size, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of zeros: %w", size, err)
	}
	return z, nil
}

// hostAddr is a number for KVM, never turned back into a pointer. The mapping is
// not Go memory and does not move.
func (z zeros) hostAddr() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(z))) }

func (z zeros) free() error { return unix.Munmap(z) }
