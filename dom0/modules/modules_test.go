package modules

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// testTree writes what depmod would, and returns a tree that records instead of
// loading.
func testTree(t *testing.T, cmdline string) (*Tree, *[]string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "usr/lib/modules/6.12")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"modules.dep": `kernel/net/llc/llc.ko:
kernel/net/802/stp.ko.xz: kernel/net/llc/llc.ko
kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko
kernel/arch/x86/kvm/kvm.ko:
kernel/arch/x86/kvm/kvm-amd.ko: kernel/arch/x86/kvm/kvm.ko
kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko:
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
kernel/needs-missing.ko: kernel/missing.ko
kernel/net/e1000e.ko:
kernel/acpi/button.ko:
`,
		"modules.builtin": "kernel/drivers/tty/serial/8250/8250.ko\nkernel/net/unix/unix.ko\n",
		"modules.alias": `# a comment
alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e
alias acpi*:LNXPWRBN:* button
alias fs-xfs xfs
alias cpu:type:x86,ven*fam*mod*:feature:*00C2* kvm_amd
alias rtnl-link-bridge bridge
alias malformed
`,
		"modules.softdep": "softdep xfs pre: crc32c-generic nothing post: llc\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Open(root, "6.12", cmdline)
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	tree.insert = func(path, params string) error {
		entry := Name(path)
		if params != "" {
			entry += " " + params
		}
		log = append(log, entry)
		return nil
	}
	return tree, &log
}

func TestFind(t *testing.T) {
	tree, _ := testTree(t, "")
	for name, want := range map[string]string{
		"kvm-amd":   "kvm_amd",
		"kvm_amd":   "kvm_amd",
		"fs-xfs":    "xfs",
		"8250":      "8250",
		"unknown":   "",
		"malformed": "",
		"pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00": "e1000e",
		"pci:v00008086d000010D4sv00001AF4sd00001100bc02sc00i00": "",
		"acpi:LNXPWRBN:": "button",
		"acpi:LNXPWRBX:": "",
		"cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0001,00C2,00C5,": "kvm_amd",
		"cpu:type:x86,ven0000fam0006mod008E:feature:,0000,0001,0085,":      "",
		"virtio:d00000001v00001AF4":                                        "",
	} {
		if got := strings.Join(tree.Find(name), " "); got != want {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	tree, log := testTree(t, "quiet kvm.nx_huge_pages=never xfs.a=1 xfs.b=2 console=ttyS0,9600.5=x")
	for _, name := range []string{"bridge", "bridge", "kvm-amd", "unix", "fs-xfs"} {
		if err := tree.Load(name, "p=1"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"llc", "stp", "bridge p=1", "kvm nx_huge_pages=never", "kvm_amd p=1",
		"crc32c_generic", "libcrc32c", "xfs a=1 b=2 p=1"}
	if diff := cmp.Diff(want, *log); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestLoadErrors(t *testing.T) {
	tree, log := testTree(t, "")
	if err := tree.Load("nothing"); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown module: %v", err)
	}
	if err := tree.Load("needs_missing"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("missing dependency: %v", err)
	}
	if err := tree.Load("a"); err == nil || !strings.Contains(err.Error(), "depends on itself") {
		t.Errorf("circle: %v", err)
	}
	if len(*log) != 0 {
		t.Errorf("loaded %v", *log)
	}
	tree.insert = func(path, _ string) error {
		if Name(path) == "llc" {
			return os.NewSyscallError("finit_module", unix.EEXIST)
		}
		return os.NewSyscallError("finit_module", unix.ENODEV)
	}
	if err := tree.Load("llc"); err != nil {
		t.Errorf("loaded already: %v", err)
	}
	if err := tree.Load("bridge"); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "stp") {
		t.Errorf("device missing: %v", err)
	}
	// A failure is not remembered: the device may be there next time.
	tree.insert = func(string, string) error { return nil }
	if err := tree.Load("bridge"); err != nil {
		t.Error(err)
	}
}

func TestLoadList(t *testing.T) {
	tree, log := testTree(t, "")
	file := filepath.Join(t.TempDir(), "modules.load")
	if err := tree.LoadList(file); err != nil {
		t.Errorf("no list: %v", err)
	}
	if err := os.WriteFile(file, []byte("# needed\nllc\n\nno-such-one # why\nkvm x=1 y=2 # and why\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := tree.LoadList(file)
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "no-such-one") {
		t.Errorf("error is %v", err)
	}
	if diff := cmp.Diff([]string{"llc", "kvm x=1 y=2"}, *log); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

func TestColdplug(t *testing.T) {
	tree, log := testTree(t, "")
	sys := t.TempDir()
	for dir, alias := range map[string]string{
		"pci0000:00/0000:00:02.0": "pci:v00008086d000010D3sv00000000sd00000000bc02sc00i00\n",
		"pci0000:00/0000:00:03.0": "pci:v0000FFFFd00000001sv00000000sd00000000bc02sc00i00\n",
		"LNXSYSTM:00/LNXPWRBN:00": "acpi:LNXPWRBN:\n",
		"empty":                   "\n",
	} {
		if err := os.MkdirAll(filepath.Join(sys, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, dir, "modalias"), []byte(alias), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Coldplug(sys); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"button", "e1000e"}, *log); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

func TestOpenNeedsDependencies(t *testing.T) {
	if _, err := Open(t.TempDir(), "6.12", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestParseUevent(t *testing.T) {
	ev, ok := ParseUevent([]byte("add@/devices/x\x00ACTION=add\x00MODALIAS=pci:v1\x00SUBSYSTEM=pci\x00"))
	want := Uevent{Action: "add", Path: "/devices/x", Env: map[string]string{"ACTION": "add", "MODALIAS": "pci:v1", "SUBSYSTEM": "pci"}}
	if diff := cmp.Diff(want, ev); diff != "" || !ok {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for _, msg := range []string{"", "libudev\x00\xfe\xed", "add@relative\x00", "@/x\x00", "nothing"} {
		if ev, ok := ParseUevent([]byte(msg)); ok {
			t.Errorf("%q: accepted as %+v", msg, ev)
		}
	}
}

// FuzzParseUevent checks that no message makes the parser fail.
func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00=\x00A\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if ev, ok := ParseUevent(msg); ok && (ev.Action == "" || !strings.HasPrefix(ev.Path, "/")) {
			t.Fatalf("%+v", ev)
		}
	})
}

func TestHelperNeedsAName(t *testing.T) {
	if got := Helper([]string{"-q", "--"}); got == 0 {
		t.Error("succeeded without a name")
	}
}
