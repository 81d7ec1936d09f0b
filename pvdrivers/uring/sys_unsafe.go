package uring

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setup is io_uring_setup, which fills p during the call.
func setup(entries uint32, p *params) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil // it is closed on exec
}

// mapQueues maps what p describes and looks up its parts.
func (r *Ring) mapQueues(p *params) (err error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	entryBytes, completionBytes := int(unsafe.Sizeof(submission{})), int(unsafe.Sizeof(completion{}))
	size := max(int(p.SqOff.Array)+4*int(p.SqEntries), int(p.CqOff.Cqes)+completionBytes*int(p.CqEntries))
	if r.rings, err = unix.Mmap(r.fd, offsetRings, size, prot, flags); err != nil {
		return fmt.Errorf("map io_uring's queues: %w", err)
	}
	if r.slots, err = unix.Mmap(r.fd, offsetEntries, entryBytes*int(p.SqEntries), prot, flags); err != nil {
		return fmt.Errorf("map io_uring's submissions: %w", err)
	}
	// The kernel's offsets are aligned for what they lead to and inside the mapping,
	// which is not Go's memory and stays until Close.
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off])) }
	r.sqHead, r.sqTail = word(p.SqOff.Head), word(p.SqOff.Tail)
	r.cqHead, r.cqTail = word(p.CqOff.Head), word(p.CqOff.Tail)
	r.submissions = unsafe.Slice((*submission)(unsafe.Pointer(&r.slots[0])), p.SqEntries)
	r.completions = unsafe.Slice((*completion)(unsafe.Pointer(&r.rings[p.CqOff.Cqes])), p.CqEntries)
	// Submissions are used in their order, so the array that could reorder them
	// stays as it is made here.
	array := unsafe.Slice(word(p.SqOff.Array), p.SqEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	r.tail = *r.sqTail
	return nil
}

// vector takes a slot for an operation on iovs. The kernel reads the vector when
// it takes the operation and writes to its segments later. The collector does not
// move what is on the heap, and keeping it alive is the caller's part.
func (r *Ring) vector(iovs []unix.Iovec) *submission {
	s := r.slot()
	*s = submission{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(iovs)))), Len: uint32(len(iovs))}
	return s
}

func (r *Ring) restrict(allowed []restriction) error {
	return r.register(registerRestrictions, unsafe.Pointer(unsafe.SliceData(allowed)), len(allowed))
}

// limit bounds the kernel's threads: those for files and those for the rest.
func (r *Ring) limit(workers uint32) error {
	counts := [2]uint32{workers, workers}
	return r.register(registerMaxWorkers, unsafe.Pointer(&counts), len(counts))
}

// enable also makes the calling thread the ring's.
func (r *Ring) enable() error { return r.register(registerEnable, nil, 0) }

// register is io_uring_register, which uses p during the call only.
func (r *Ring) register(request int, p unsafe.Pointer, n int) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), uintptr(request), uintptr(p), uintptr(n), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// enter is io_uring_enter without a signal mask.
func (r *Ring) enter(submit, atLeast int) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), uintptr(atLeast), EnterFlags, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
