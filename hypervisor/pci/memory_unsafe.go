package pci

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is the backing of configuration space. It is outside Go's heap because
// the guest reads it: it must not move, and must be page-aligned. Pages that
// nobody wrote cost nothing.
type memory []byte

func newMemory(size int) (memory, error) {
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes of PCI configuration space: %w", size, err)
	}
	return m, nil
}

// hostAddr is a number for KVM, never turned back into a pointer.
func (m memory) hostAddr() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m))) }

func (m memory) free() error { return unix.Munmap(m) }
