package main

import "gozen/image/initramfs"

// demoModules are what the demo guest's kernel lacks: its devices and its power
// button. The console and the PCI transport are built into Debian's kernel.
var demoModules = []string{"virtio_blk", "virtio_net", "virtio_rng", "button", "evdev"}

func (o *options) demo() error {
	return o.write("demo-initrd.cpio.zst", initramfs.Guest(".", o.tree, "gozen/pvdrivers/guest/demo", demoModules), true)
}
