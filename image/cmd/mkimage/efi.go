package main

import (
	"fmt"
	"os"
	"path/filepath"

	"gozen/boot/cmdline"
	"gozen/dom0/seed"
	"gozen/image/disk"
	"gozen/image/efi"
)

// maxEFI is the largest unified file that Gozen promises, in bytes.
const maxEFI = 64 << 20

func (o *options) efi() error {
	kernel, err := os.ReadFile(filepath.Join(o.kernel, "vmlinuz"))
	if err != nil {
		return fmt.Errorf("%w (make kernel)", err)
	}
	archive, err := os.ReadFile(o.name("initramfs", ".cpio.zst"))
	if err != nil {
		return fmt.Errorf("%w (mkimage initramfs)", err)
	}
	out, err := efi.Unify(o.stub, efi.Parts{
		Kernel: kernel, Initramfs: archive, Cmdline: cmdline.Real, Version: o.version, Release: o.tree.Release,
	})
	if err != nil {
		return err
	}
	if len(out) > maxEFI {
		return fmt.Errorf("the file has %d bytes, at most %d are promised", len(out), maxEFI)
	}
	file := o.name("gozen", ".efi")
	if err := writeFile(file, out); err != nil {
		return err
	}
	return sayFile(file)
}

func (o *options) disk() error {
	program, err := os.ReadFile(o.name("gozen", ".efi"))
	if err != nil {
		return fmt.Errorf("%w (mkimage efi)", err)
	}
	var text []byte
	if o.seed != "" {
		if text, err = os.ReadFile(o.seed); err != nil {
			return err
		}
		// Better here than on a machine without a screen.
		if _, err := seed.Parse(text); err != nil {
			return fmt.Errorf("%s: %w", o.seed, err)
		}
	}
	file := o.name("gozen", ".img")
	if err := disk.Write(file, program, text); err != nil {
		return err
	}
	return sayFile(file)
}

// writeFile writes a file by rename, so that a cut build leaves no half of one.
func writeFile(file string, content []byte) error {
	temp := file + ".new"
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, file)
}
