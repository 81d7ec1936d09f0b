package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"github.com/u-root/mkuimage/cpio"
)

// wanted are the modules that tests may rely on.
var wanted = []string{
	"crc32c_generic", "kvm", "kvm-amd", "kvm-intel", "tun", "vhost-net", "vhost_vsock", "bridge", "nf_tables", "nft_masq",
	"nft_chain_nat", "nft_ct", "nft_meta_bridge", "nft_reject_inet", "nf_conntrack_bridge", "veth", "loop", "xfs", "ext4", "vfat", "nls_ascii", "nls_cp437", "dummy", "virtio_rng", "af_packet", "vsock_loopback",
}

type kernel struct {
	image   string
	modules string            // directory that holds modules.dep
	deps    map[string]string // module name -> its line of modules.dep
}

// findKernel accepts a directory as dpkg-deb -x leaves it, or one with a vmlinuz
// and lib/modules.
func findKernel(dir string) (*kernel, error) {
	k := &kernel{deps: map[string]string{}}
	for _, pattern := range []string{"vmlinuz", "boot/vmlinuz-*", "root/boot/vmlinuz-*"} {
		if m, _ := filepath.Glob(filepath.Join(dir, pattern)); len(m) > 0 {
			k.image = m[0]
			break
		}
	}
	for _, pattern := range []string{"lib/modules/*/modules.dep", "usr/lib/modules/*/modules.dep", "root/lib/modules/*/modules.dep", "root/usr/lib/modules/*/modules.dep"} {
		if m, _ := filepath.Glob(filepath.Join(dir, pattern)); len(m) > 0 {
			k.modules = filepath.Dir(m[0])
			break
		}
	}
	if k.image == "" || k.modules == "" {
		return nil, fmt.Errorf("no kernel with modules under %s: run `make kernel` first", dir)
	}
	b, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if file, _, ok := strings.Cut(line, ":"); ok {
			k.deps[moduleName(file)] = line
		}
	}
	return k, nil
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// loadOrder returns the files of the wanted modules, dependencies first.
func (k *kernel) loadOrder() []string {
	var order []string
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		line, ok := k.deps[moduleName(name)]
		if !ok {
			return // built in
		}
		file, deps, _ := strings.Cut(line, ":")
		if seen[file] {
			return
		}
		seen[file] = true
		for _, d := range strings.Fields(deps) {
			add(d)
		}
		order = append(order, file)
	}
	for _, w := range wanted {
		add(w)
	}
	return order
}

func writeInitrd(name, dir string, k *kernel, programs []program, files []string) error {
	initBin := filepath.Join(dir, "init")
	if err := goBuild(initBin, "build", "-ldflags", "-s -w", "-o", initBin, "gozen/qemu-tests/kvmhost/init"); err != nil {
		return err
	}
	a := cpio.InMemArchive()
	add := func(guest, host string, mode uint64) error {
		b, err := os.ReadFile(host)
		if err != nil {
			return err
		}
		return a.WriteRecord(cpio.StaticFile(strings.TrimPrefix(guest, "/"), string(b), mode))
	}
	records := []cpio.Record{
		cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3),
	}
	dirs := map[string]bool{}
	need := func(p string) {
		for d := filepath.Dir(p); d != "/" && d != "."; d = filepath.Dir(d) {
			dirs[strings.TrimPrefix(d, "/")] = true
		}
	}
	need("/dev/x")
	need("/modules/x")
	need("/tests/x")
	for _, f := range files {
		_, guest, ok := strings.Cut(f, ":")
		if !ok {
			return fmt.Errorf("-file %s: want HOST:GUEST", f)
		}
		need(guest)
	}
	var sorted []string
	for d := range dirs {
		sorted = append(sorted, d)
	}
	sort.Strings(sorted)
	for _, d := range sorted {
		if err := a.WriteRecord(cpio.Directory(d, 0o755)); err != nil {
			return err
		}
	}
	for _, r := range records {
		if err := a.WriteRecord(r); err != nil {
			return err
		}
	}
	if err := add("init", initBin, 0o755); err != nil {
		return err
	}
	var load, runList strings.Builder
	for _, m := range k.loadOrder() {
		guest := "/modules/" + moduleName(m) + ".ko"
		host := filepath.Join(k.modules, m)
		if strings.HasSuffix(m, ".xz") {
			plain := filepath.Join(dir, moduleName(m)+".ko")
			if out, err := exec.Command("sh", "-c", `xz -dc "$1" >"$2"`, "sh", host, plain).CombinedOutput(); err != nil {
				return fmt.Errorf("decompress %s: %w: %s", m, err, out)
			}
			host = plain
		}
		if err := add(guest, host, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(&load, guest)
	}
	for _, p := range programs {
		if err := add(p.args[0], p.bin, 0o755); err != nil {
			return err
		}
		fmt.Fprintln(&runList, strings.Join(append([]string{p.name}, p.args...), "\x1f"))
	}
	for _, f := range files {
		host, guest, _ := strings.Cut(f, ":")
		if err := add(guest, host, 0o755); err != nil {
			return err
		}
	}
	for n, s := range map[string]string{"modules.load": load.String(), "run.list": runList.String()} {
		if err := a.WriteRecord(cpio.StaticFile(n, s, 0o644)); err != nil {
			return err
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := cpio.Newc.Writer(f)
	if err := cpio.CopyAndFinish(w, a.Reader()); err != nil {
		return err
	}
	return f.Close()
}
