// Command mkimage builds what a machine boots: the initramfs, the unified EFI
// file and the raw disk image. `make image` calls it; see docs/build.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gozen/hypervisor/kernel"
	"gozen/image/efi"
	"gozen/image/initramfs"
)

func main() {
	var o options
	flag.StringVar(&o.kernel, "kernel", "build/kernel", "unpacked kernel package `directory` (make kernel)")
	flag.StringVar(&o.out, "out", "build", "`directory` to write to")
	flag.StringVar(&o.seed, "seed", "", "seed `file` to put on the disk image")
	flag.StringVar(&o.stub, "stub", efi.StubFile, "EFI stub `file`")
	flag.StringVar(&o.version, "version", "0.0.0-dev", "`version` that the host reports")
	flag.BoolVar(&o.debug, "debug", false, "build the debug variant: a shell and tools, named *-debug")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: mkimage [flags] PART...\n\nBuilds the named parts, in this order:\n"+
			"  initramfs  initramfs.cpio.zst, the host's root file system\n"+
			"  efi        gozen.efi, kernel, initramfs and command line in one EFI program\n"+
			"  disk       gozen.img, a raw disk that boots it\n"+
			"  demo       demo-initrd.cpio.zst, the demo guest's root file system\n"+
			"  sizes      prints the sizes of what is there\n\nFlags:\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := o.run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

type options struct {
	kernel, out, version string
	seed, stub           string
	debug                bool
	tree                 *kernel.Tree
}

func (o *options) run(parts []string) error {
	tree, err := kernel.Open(o.kernel)
	if err != nil {
		return err
	}
	o.tree = tree
	for _, part := range parts {
		start := time.Now()
		var err error
		switch part {
		case "initramfs":
			err = o.initramfs()
		case "efi":
			err = o.efi()
		case "disk":
			err = o.disk()
		case "demo":
			err = o.demo()
		case "sizes":
			err = o.sizes()
		default:
			err = fmt.Errorf("unknown part %q; see mkimage -help", part)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		fmt.Printf("%s: done in %.1f s\n", part, time.Since(start).Seconds())
	}
	return nil
}

// name returns a file of the output directory; the debug variant's has "-debug"
// before the suffix.
func (o *options) name(stem, suffix string) string {
	if o.debug {
		stem += "-debug"
	}
	return filepath.Join(o.out, stem+suffix)
}

func (o *options) initramfs() error {
	spec, err := initramfs.Host(".", o.tree, o.version, o.debug)
	if err != nil {
		return err
	}
	return o.write(o.name("initramfs", ".cpio.zst"), spec)
}

// write builds an archive and says how large its parts are.
func (o *options) write(file string, spec initramfs.Spec) error {
	work, err := os.MkdirTemp(o.out, ".mkimage-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	archive, sizes, err := initramfs.Build(spec, work)
	if err != nil {
		return err
	}
	if err := initramfs.WriteFile(file, archive, true); err != nil {
		return err
	}
	for _, s := range sizes {
		saySize(s.Part+", in it", s.Bytes)
	}
	return sayFile(file)
}
