package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockRange issues an ioctl that takes {offset, length} in bytes (linux/fs.h).
func blockRange(args []string, request uintptr) error {
	n, err := numbers(args[1:])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	arg := [2]uint64{n[0], n[1]}
	// The kernel reads the two words during the call.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return f.Sync()
}
