package guestmem

import "unsafe"

// The functions of this file access what guest and host share as the virtio
// ring protocol asks: once, in order, and never merged or repeated by the
// compiler. They take slices that Memory.Slice returned and panic, like an
// index expression, when the slice is too short. All values are little-endian.
//
// sync/atomic has no 16-bit operations, hence the assembly.

//go:noescape
func load16(p *uint16) uint16

//go:noescape
func store16(p *uint16, v uint16)

//go:noescape
func exchange16(p *uint16, v uint16)

//go:noescape
func load128(p *byte) (lo, hi uint64)

//go:noescape
func store64(p *uint64, v uint64)

// Load16 reads b[0:2]. No later access happens before it (acquire).
func Load16(b []byte) uint16 {
	_ = b[1]
	// The two bytes are in the slice, so the pointer stays inside its memory.
	return load16((*uint16)(unsafe.Pointer(unsafe.SliceData(b))))
}

// Store16 writes b[0:2]. No earlier access happens after it (release).
func Store16(b []byte, v uint16) {
	_ = b[1]
	// As in Load16.
	store16((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), v)
}

// StoreFence16 writes b[0:2] with a full barrier: no earlier access happens
// after the store and no later one before it. It is what stands between
// publishing an index and looking whether the other side wants to be told.
func StoreFence16(b []byte, v uint16) {
	_ = b[1]
	// As in Load16.
	exchange16((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), v)
}

// Load128 reads b[0:16] as two numbers, each byte once: a descriptor, copied
// before it is checked.
func Load128(b []byte) (lo, hi uint64) {
	_ = b[15]
	// The sixteen bytes are in the slice.
	return load128(unsafe.SliceData(b))
}

// Store64 writes b[0:8] at once: an element of the used ring.
func Store64(b []byte, v uint64) {
	_ = b[7]
	// The eight bytes are in the slice.
	store64((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), v)
}
