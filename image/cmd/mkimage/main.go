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
	"gozen/image/initramfs"
)

func main() {
	var o options
	flag.StringVar(&o.kernel, "kernel", "build/kernel", "unpacked kernel package `directory` (make kernel)")
	flag.StringVar(&o.out, "out", "build", "`directory` to write to")
	flag.StringVar(&o.version, "version", "0.0.0-dev", "`version` that the host reports")
	flag.BoolVar(&o.debug, "debug", false, "build the debug variant: a shell and tools, named *-debug")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: mkimage [flags] initramfs|demo ...\n\nBuilds the named parts:\n"+
			"  initramfs  initramfs.cpio.zst, the host's root file system\n"+
			"  demo       demo-initrd.cpio, the demo guest's\n\nFlags:\n")
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
		case "demo":
			err = o.demo()
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

func (o *options) initramfs() error {
	name := "initramfs.cpio.zst"
	if o.debug {
		name = "initramfs-debug.cpio.zst"
	}
	spec, err := initramfs.Host(".", o.tree, o.version, o.debug)
	if err != nil {
		return err
	}
	return o.write(name, spec, true)
}

func (o *options) write(name string, spec initramfs.Spec, compress bool) error {
	work, err := os.MkdirTemp(o.out, ".mkimage-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	archive, sizes, err := initramfs.Build(spec, work)
	if err != nil {
		return err
	}
	file := filepath.Join(o.out, name)
	if err := initramfs.WriteFile(file, archive, compress); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	for _, s := range sizes {
		fmt.Printf("  %-22s %7.1f MiB\n", s.Part, mib(s.Bytes))
	}
	fmt.Printf("  %-22s %7.1f MiB\n", file, mib(info.Size()))
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
