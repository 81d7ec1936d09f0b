package abi

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// uapi returns the directory that holds the kernel's uapi headers.
func uapi(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GOZEN_UAPI")
	if dir == "" {
		dir = filepath.Join(moduleRoot, "build", "kernel", "headers")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"include/uapi/linux/kvm.h", "arch/x86/include/uapi/asm/kvm.h"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Fatalf("the kernel's headers are missing: %v\nrun `make kernel`, or set GOZEN_UAPI to an unpacked linux-headers-6.12…-common", err)
		}
	}
	return dir
}

// overrides are headers that the kernel's build makes, or that
// `make headers_install` cuts out of what user programs see, and the little that
// some take from the C library, which need not be installed: integer types and a
// socket address.
var overrides = map[string]string{
	"linux/compiler.h":       "",
	"linux/compiler_types.h": "",
	"stdint.h": "typedef __UINT16_TYPE__ uint16_t;\ntypedef __UINT32_TYPE__ uint32_t;\n" +
		"typedef __UINT64_TYPE__ uint64_t;\ntypedef __UINTPTR_TYPE__ uintptr_t;\n",
	"sys/socket.h": "struct sockaddr { unsigned short sa_family; char sa_data[14]; };\n",
}

// includePath returns the compiler's -I flags for the headers as user programs
// see them.
func includePath(t *testing.T) []string {
	t.Helper()
	dir, own := uapi(t), t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(own, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range overrides {
		write(name, text)
	}
	// An architecture that does not have a header of its own takes the generic one.
	generic, err := filepath.Glob(filepath.Join(dir, "include/uapi/asm-generic/*.h"))
	if err != nil {
		t.Fatal(err)
	}
	x86 := filepath.Join(dir, "arch/x86/include/uapi")
	for _, g := range generic {
		name := filepath.Base(g)
		if _, err := os.Stat(filepath.Join(x86, "asm", name)); os.IsNotExist(err) {
			write("asm/"+name, "#include <asm-generic/"+name+">\n")
		}
	}
	return []string{"-nostdinc", "-D__user=", "-I" + own, "-I" + x86, "-I" + filepath.Join(dir, "include/uapi")}
}

// includes are the headers that say all there is to compare.
var includes = []string{
	"linux/kvm.h", "asm/kvm_para.h", "linux/vhost.h", "linux/virtio_config.h", "linux/virtio_ids.h", "linux/virtio_ring.h",
	"linux/virtio_blk.h", "linux/virtio_net.h", "linux/virtio_console.h", "linux/virtio_vsock.h", "linux/virtio_pci.h",
	"linux/pci_regs.h", "linux/if_tun.h", "linux/if.h",
}

// compile returns the value of every expression.
func compile(t *testing.T, checks []check) []uint64 {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Fatalf("the cross-check needs a C compiler: %v\non Debian: apt-get install gcc", err)
	}
	var src strings.Builder
	for _, h := range includes {
		fmt.Fprintf(&src, "#include <%s>\n", h)
	}
	src.WriteString("const unsigned long long gozen_abi[] = {\n")
	for i, c := range checks {
		// The line that the compiler names in an error tells what it is about.
		fmt.Fprintf(&src, "#line %d \"%s\"\n(unsigned long long)(%s),\n", i+1, c.what, c.expr)
	}
	src.WriteString("};\n")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "abi.c"), filepath.Join(dir, "abi.o")
	if err := os.WriteFile(in, []byte(src.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append(includePath(t), "-m64", "-w", "-c", "-o", out, in)
	if msg, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	return symbolData(t, out, len(checks))
}

// symbolData reads n numbers from the array in the object file.
func symbolData(t *testing.T, name string, n int) []uint64 {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != "gozen_abi" {
			continue
		}
		data, err := f.Sections[s.Section].Data()
		if err != nil {
			t.Fatal(err)
		}
		out := make([]uint64, n)
		for i := range out {
			out[i] = f.ByteOrder.Uint64(data[s.Value+uint64(8*i):])
		}
		return out
	}
	t.Fatalf("%s has no symbol gozen_abi", name)
	return nil
}
