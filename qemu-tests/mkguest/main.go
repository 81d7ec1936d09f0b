// Command mkguest builds the initrd of the system tests' small guest.
//
//	go run ./qemu-tests/mkguest -kernel build/kernel -o build/testguest.cpio
package main

import (
	"flag"
	"fmt"
	"os"

	"gozen/hypervisor/kernel"
	"gozen/image/initramfs"
)

// modules are what the kernel has not built in: the guest's devices, its power
// button, and its sockets.
var modules = []string{"virtio_blk", "virtio_net", "virtio_rng", "pvpanic_mmio", "button", "evdev", "vmw_vsock_virtio_transport", "af_packet"}

func main() {
	dir := flag.String("kernel", "build/kernel", "unpacked kernel package `directory`")
	out := flag.String("o", "build/testguest.cpio", "`file` to write")
	flag.Parse()
	if err := build(*dir, *out); err != nil {
		fmt.Fprintln(os.Stderr, "mkguest:", err)
		os.Exit(1)
	}
}

func build(dir, out string) error {
	tree, err := kernel.Open(dir)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "gozen-mkguest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	spec := initramfs.Guest(".", tree, "gozen/qemu-tests/testguest", modules)
	spec.Busybox, spec.Shell = nil, "" // its init obeys the console itself
	archive, _, err := initramfs.Build(spec, work)
	if err != nil {
		return err
	}
	return initramfs.WriteFile(out, archive, false)
}
