// Package qemu runs Gozen nested, in QEMU on the admin's machine.
//
// A Config describes the machine; Start runs it and returns a Machine that tells
// how it ended. KVM is used where /dev/kvm works and allows nesting, otherwise
// QEMU's software CPU, which emulates AMD SVM with nested paging: guests run
// either way, slower in the second.
//
// The machine boots as real ones do: by kernel, initramfs and seed, as PXE would
// hand them over, or by UEFI firmware off a disk image.
//
// QEMU's monitor (QMP) is the machine's front panel: power button, reset, plug.
// Its network is QEMU's own (no root, no bridge); the management API is forwarded
// to a port of 127.0.0.1. An isolated machine reaches nothing outside.
//
// QEMU never outlives the process that started it.
package qemu
