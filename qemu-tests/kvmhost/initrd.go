package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/u-root/mkuimage/cpio"

	"gozen/hypervisor/kernel"
	"gozen/image/initramfs"
)

// wanted are the modules that tests may rely on.
var wanted = []string{
	"crc32c_generic", "kvm", "kvm-amd", "kvm-intel", "tun", "vhost-net", "vhost_vsock", "bridge", "nf_tables", "nft_masq",
	"nft_chain_nat", "nft_ct", "nft_meta_bridge", "nft_reject_inet", "nf_conntrack_bridge", "veth", "loop", "xfs", "ext4", "vfat", "nls_ascii", "nls_cp437", "dummy", "virtio_rng", "af_packet", "vsock_loopback",
}

// writeInitrd makes what the emulated host starts from: the init, modules with
// the order to load them in, the programs with the order to run them in, and the
// files that -file names.
func writeInitrd(name, dir string, tree *kernel.Tree, programs []program, files []string) error {
	initBin := filepath.Join(dir, "init")
	if err := goBuild("build", "-ldflags", "-s -w", "-o", initBin, "gozen/qemu-tests/kvmhost/init"); err != nil {
		return err
	}
	var c contents
	c.records = append(c.records, cpio.Directory("dev", 0o755),
		cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3))
	if err := c.copy("init", initBin); err != nil {
		return err
	}
	modules, err := tree.Closure(wanted)
	if err != nil {
		return err
	}
	var load, run strings.Builder
	for _, m := range modules {
		guest := "modules/" + path.Base(m.Path)
		c.add(guest, m.Content, 0o644)
		fmt.Fprintln(&load, "/"+guest)
	}
	for _, p := range programs {
		if err := c.copy(p.args[0], p.bin); err != nil {
			return err
		}
		fmt.Fprintln(&run, strings.Join(append([]string{p.name}, p.args...), "\x1f"))
	}
	for _, f := range files {
		host, guest, ok := strings.Cut(f, ":")
		if !ok {
			return fmt.Errorf("-file %s: want HOST:GUEST", f)
		}
		if err := c.copy(guest, host); err != nil {
			return err
		}
	}
	c.add("modules.load", []byte(load.String()), 0o644)
	c.add("run.list", []byte(run.String()), 0o644)
	archive, err := cpio.ArchiveFromRecords(c.records)
	if err != nil {
		return err
	}
	return initramfs.WriteFile(name, archive, false)
}

// contents are the records of an archive, each after the directories it is in.
type contents struct {
	records []cpio.Record
	dirs    map[string]bool
}

// add adds a file; its path may begin with a slash.
func (c *contents) add(guest string, content []byte, mode uint64) {
	guest = strings.TrimPrefix(path.Clean(guest), "/")
	c.enter(path.Dir(guest))
	c.records = append(c.records, cpio.StaticFile(guest, string(content), mode))
}

// copy adds an executable file of this machine.
func (c *contents) copy(guest, host string) error {
	content, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	c.add(guest, content, 0o755)
	return nil
}

// enter adds a directory and those above it, unless they are there.
func (c *contents) enter(dir string) {
	if dir == "." || c.dirs[dir] {
		return
	}
	c.enter(path.Dir(dir))
	if c.dirs == nil {
		c.dirs = make(map[string]bool)
	}
	c.dirs[dir] = true
	c.records = append(c.records, cpio.Directory(dir, 0o755))
}
