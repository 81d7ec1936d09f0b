package main

import (
	"sync/atomic"
	"unsafe"
)

// address is the page's virtual address, an index into /proc/self/pagemap.
func address(page []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(page))) }

// Device registers need one access of their own width each. The mapping is not Go
// memory; offsets come from the device's capabilities, bounds are checked by the
// slice expression.

func (b *bar) set8(at uint32, v uint8)   { *(*uint8)(unsafe.Pointer(&b.mem[at : at+1][0])) = v }
func (b *bar) set16(at uint32, v uint16) { *(*uint16)(unsafe.Pointer(&b.mem[at : at+2][0])) = v }
func (b *bar) set32(at uint32, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&b.mem[at : at+4][0])), v)
}
func (b *bar) get8(at uint32) uint8   { return *(*uint8)(unsafe.Pointer(&b.mem[at : at+1][0])) }
func (b *bar) get16(at uint32) uint16 { return *(*uint16)(unsafe.Pointer(&b.mem[at : at+2][0])) }
