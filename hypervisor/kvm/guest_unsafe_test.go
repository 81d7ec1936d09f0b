//go:build kvmhost

package kvm_test

import "unsafe"

// hostAddr is a mapping's address, a number for the kernel.
func hostAddr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
