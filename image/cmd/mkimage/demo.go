package main

import (
	"path/filepath"

	"gozen/image/initramfs"
)

// demoModules are what the demo guest's kernel lacks: its devices and its power
// button. The console and the PCI transport are built into Debian's kernel.
var demoModules = []string{"virtio_blk", "virtio_net", "virtio_rng", "button", "evdev"}

func (o *options) demo() error {
	spec := initramfs.Guest(".", o.tree, "gozen/pvdrivers/guest/demo", demoModules)
	return o.write(filepath.Join(o.out, "demo-initrd.cpio.zst"), spec)
}
