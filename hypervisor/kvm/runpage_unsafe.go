package kvm

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runMap is the mapping of a vCPU's run page. Memory of the kernel, never of
// Go's heap.
type runMap struct {
	bytes []byte   // the whole mapping: the page, then port data
	page  *runPage // its start
}

func mapRun(fd, size int) (runMap, error) {
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return runMap{}, err
	}
	// mapRun's caller has checked size against the struct; a mapping is aligned to
	// a page.
	return runMap{bytes: b, page: (*runPage)(unsafe.Pointer(unsafe.SliceData(b)))}, nil
}

const runPageSize = int(unsafe.Sizeof(runPage{}))

// setImmediateExit stores v to immediate_exit. sync/atomic has no bytes, so it
// stores the word that holds it: the other bytes are request_interrupt_window,
// which a vCPU with an APIC in the kernel leaves 0, and padding.
func (m runMap) setImmediateExit(v uint8) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&m.page.RequestInterruptWindow)), uint32(v)<<8)
}

// immediateExit loads what setImmediateExit stored.
func (m runMap) immediateExit() uint8 {
	return uint8(atomic.LoadUint32((*uint32)(unsafe.Pointer(&m.page.RequestInterruptWindow))) >> 8)
}

// union views the exit's data as T, one of the run… structs that the abi tests
// have found to fit into it.
func union[T any](m runMap) *T { return (*T)(unsafe.Pointer(&m.page.Exit)) }

// runOnce is KVM_RUN. It goes through unix.Syscall, not RawSyscall: the Go
// runtime must know that this thread is away, or a garbage collection waits for
// the guest. It is never repeated here.
func runOnce(fd int) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlRun, 0)
	return errno
}
