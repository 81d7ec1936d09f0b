package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// sizes prints the sizes of what was built.
func (o *options) sizes() error {
	for _, file := range []string{
		filepath.Join(o.kernel, "vmlinuz"), o.name("initramfs", ".cpio.zst"), o.name("gozen", ".efi"),
		o.name("gozen", ".img"), filepath.Join(o.out, "demo-initrd.cpio.zst"),
	} {
		if err := sayFile(file); err != nil {
			return err
		}
	}
	fmt.Printf("  the EFI file may have at most %.0f MiB\n", float64(maxEFI)/(1<<20))
	return nil
}

func sayFile(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	saySize(file, info.Size())
	return nil
}

func saySize(what string, bytes int64) {
	fmt.Printf("  %-32s %7.1f MiB\n", what, float64(bytes)/(1<<20))
}
