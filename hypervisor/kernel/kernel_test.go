package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// packageRoot is where make kernel unpacks Debian's package. The build comes
// before the tests in every make target that runs them.
const packageRoot = "../../build/kernel"

func openTree(t *testing.T) *Tree {
	t.Helper()
	tree, err := Open(packageRoot)
	if err != nil {
		t.Fatalf("%v (make kernel fetches it)", err)
	}
	return tree
}

func TestEveryListedModuleIsInTheKernel(t *testing.T) {
	tree := openTree(t)
	for _, m := range List() {
		if tree.Builtin(m.Name) {
			continue
		}
		f, err := tree.Load(m.Name)
		if err != nil {
			t.Errorf("%s (%s): %v", m.Name, m.Reason, err)
			continue
		}
		if !strings.HasPrefix(f.Info.Vermagic, tree.Release+" ") {
			t.Errorf("%s was built for %q, the kernel is %s", m.Name, f.Info.Vermagic, tree.Release)
		}
		if m.When == Device && len(f.Info.Aliases) == 0 {
			t.Errorf("%s is loaded by device, but names no hardware", m.Name)
		}
	}
}

func TestClosureHasDependenciesFirst(t *testing.T) {
	tree := openTree(t)
	var names []string
	for _, m := range List() {
		names = append(names, m.Name)
	}
	files, err := tree.Closure(names)
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[string]int)
	for i, f := range files {
		if _, twice := at[f.Name]; twice {
			t.Errorf("%s is in the closure twice", f.Name)
		}
		at[f.Name] = i
	}
	for i, f := range files {
		for _, dep := range f.Info.Depends {
			if tree.Builtin(dep) {
				continue
			}
			if j, ok := at[dep]; !ok || j > i {
				t.Errorf("%s depends on %s, which does not come before it", f.Name, dep)
			}
		}
	}
	for _, want := range []string{"irqbypass", "libcrc32c", "stp", "llc", "vhost_iotlb", "nvme_core", "libata", "scsi_mod"} {
		if _, ok := at[want]; !ok {
			t.Errorf("the closure lacks %s", want)
		}
	}
	index := tree.NewIndex(files)
	if n := strings.Count(index.Dep, "\n"); n != len(files) {
		t.Errorf("modules.dep has %d lines for %d modules", n, len(files))
	}
	for _, want := range []string{"kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko\n", "kernel/virt/lib/irqbypass.ko:\n"} {
		if !strings.Contains("\n"+index.Dep, "\n"+want) {
			t.Errorf("modules.dep lacks %q", want)
		}
	}
	// An Intel 82540EM, which QEMU calls e1000.
	if !strings.Contains(index.Alias, "alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n") {
		t.Error("modules.alias lacks e1000's own card")
	}
}

func TestClosureNamesTheMissing(t *testing.T) {
	tree := openTree(t)
	_, err := tree.Closure([]string{"xfs", "no-such-module"})
	if !errors.Is(err, ErrNoModule) || !strings.Contains(err.Error(), "no_such_module") {
		t.Errorf("got %v, want ErrNoModule that names no_such_module", err)
	}
}

func TestOpenWithoutKernel(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "make kernel") {
		t.Errorf("got %v, want an error that says make kernel", err)
	}
}

func TestParseList(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no reason", "kvm boot\n", "modules.txt:1"},
		{"unknown moment", "\nkvm never virtual machines\n", `unknown moment "never"`},
		{"hyphen", "kvm-amd boot AMD\n", `"kvm_amd"`},
		{"twice", "kvm boot a\nkvm boot b\n", "listed twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseList(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %s", err, c.want)
			}
		})
	}
}

func TestParseModinfo(t *testing.T) {
	got := parseModinfo("license=GPL\x00alias=pci:v1\x00\x00alias=fs-x\x00depends=a,b-c\x00" +
		"softdep=pre: crc32c x-y post: late pre: again\x00vermagic=6.12 SMP\x00noise")
	want := Info{
		Depends:  []string{"a", "b_c"},
		PreSoft:  []string{"crc32c", "x_y", "again"},
		Aliases:  []string{"pci:v1", "fs-x"},
		Vermagic: "6.12 SMP",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := parseModinfo("depends=\x00"); got.Depends != nil {
		t.Errorf("no dependencies parsed as %q", got.Depends)
	}
}

func TestReadModuleDamaged(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.ko.xz", "a.ko.zst", "a.ko.gz"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("this is not compressed data at all"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadModule(file); err == nil {
			t.Errorf("%s: damage went unnoticed", name)
		}
	}
	if _, err := ParseInfo([]byte("\x7fELF but no more")); err == nil {
		t.Error("a cut ELF header went unnoticed")
	}
}
