package qemu

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	p := places{monitor: "/run/qmp", initrd: "/run/initrd", firmware: "/fw/code", vars: "/run/vars", forwards: map[int]int{8443: 4001, 22: 4002}}
	direct := Config{Kernel: "vmlinuz", Initrd: "initramfs", Cmdline: "console=ttyS0 quiet"}
	for _, c := range []struct {
		name    string
		config  func() Config
		accel   Accelerator
		want    [][]string // consecutive arguments that must be there
		wantNot []string
	}{
		{"direct boot", func() Config { return direct }, Accelerator{},
			[][]string{{"-kernel", "vmlinuz", "-initrd", "/run/initrd", "-append", "console=ttyS0 quiet"},
				{"-accel", "tcg,thread=multi", "-cpu", "max"}, {"-smp", "2", "-m", "2048M"},
				{"-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:4001-:8443"}},
			[]string{"restrict=on", "-no-reboot", "pflash"}},
		{"isolated, with KVM", func() Config {
			c := direct
			c.Isolated, c.CPUs, c.MemoryMiB, c.HaltOnReset, c.Forward = true, 4, 512, true, []int{22}
			return c
		}, Accelerator{KVM: true},
			[][]string{{"-accel", "kvm", "-cpu", "host"}, {"-smp", "4", "-m", "512M"}, {"-no-reboot"},
				{"-netdev", "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:4001-:8443,hostfwd=tcp:127.0.0.1:4002-:22"}},
			[]string{"tcg"}},
		{"disk at an NBD server", func() Config {
			c := direct
			c.Disks = []Disk{{NBD: "/run/a,b", Serial: "data"}}
			return c
		}, Accelerator{},
			[][]string{{"-drive", "if=none,id=disk0,format=raw,discard=unmap,file.driver=nbd,file.server.type=unix,file.server.path=/run/a,,b",
				"-device", "virtio-blk-pci,drive=disk0,serial=data"}},
			[]string{",file="}},
		{"firmware", func() Config {
			return Config{NIC: "e1000e", Disks: []Disk{
				{File: "a,b.img", Bus: USB, Boot: true, Discard: true},
				{File: "data.qcow2", Format: "qcow2", Bus: NVMe, Serial: "data"},
				{File: "more.raw", Bus: SATA}}}
		}, Accelerator{},
			[][]string{{"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/fw/code"},
				{"-drive", "if=none,id=disk0,format=raw,discard=unmap,file=a,,b.img,snapshot=on", "-device", "qemu-xhci,id=xhcidisk0",
					"-device", "usb-storage,bus=xhcidisk0.0,drive=disk0,bootindex=0"},
				{"-device", "nvme,drive=disk1,serial=data"}, {"-device", "ide-hd,bus=ide.2,drive=disk2"},
				{"-device", "e1000e,netdev=net0,romfile="}},
			[]string{"-kernel"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.config()
			args, err := config.arguments(c.accel, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !containsRun(args, want) {
					t.Errorf("no %q in %q", want, args)
				}
			}
			for _, not := range c.wantNot {
				if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, not) }) {
					t.Errorf("%q must not be in %q", not, args)
				}
			}
		})
	}
}

func containsRun(args, run []string) bool {
	for i := range args {
		if i+len(run) <= len(args) && slices.Equal(args[i:i+len(run)], run) {
			return true
		}
	}
	return false
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"nothing to boot", Config{}, "one disk with Boot"},
		{"two to boot", Config{Disks: []Disk{{Boot: true}, {Boot: true}}}, "there are 2"},
		{"kernel alone", Config{Kernel: "vmlinuz"}, "initramfs"},
		{"seed without kernel", Config{Seed: []byte("{}"), Disks: []Disk{{Boot: true}}}, "disk image"},
		{"disk at two places", Config{Kernel: "k", Initrd: "i", Disks: []Disk{{File: "f", NBD: "n"}}}, "NBD server n"},
		{"serial", Config{Kernel: "k", Initrd: "i", Disks: []Disk{{Serial: strings.Repeat("s", 21)}}}, "20 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Start(context.Background(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// bareMachine is a machine that has nothing to do: its firmware finds no system.
func bareMachine(t *testing.T) *Machine {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "empty.raw")
	if err := CreateDisk(disk, "raw", 1<<20); err != nil {
		t.Fatal(err)
	}
	m, err := Start(t.Context(), Config{CPUs: 1, MemoryMiB: 64, Isolated: true, ForceTCG: true, Disks: []Disk{{File: disk, Boot: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

func TestMachineEnds(t *testing.T) {
	for _, c := range []struct {
		name, want string
		end        func(*Machine) error
	}{
		{"unplugged", "killed", func(m *Machine) error { m.Kill(); return nil }},
		{"told to quit", "host-qmp-quit", func(m *Machine) error { return m.monitor.command(context.Background(), "quit", nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := bareMachine(t)
			if err := m.Reset(t.Context()); err != nil {
				t.Error(err)
			}
			if err := c.end(m); err != nil {
				t.Error(err)
			}
			exit, err := m.Wait(t.Context())
			if err != nil || exit.Reason != c.want {
				t.Errorf("ended as %v, %v; want %s", exit, err, c.want)
			}
			if _, err := os.Stat(m.dir); !os.IsNotExist(err) {
				t.Errorf("%s was left behind", m.dir)
			}
			if err := m.PowerButton(t.Context()); err == nil {
				t.Error("a machine that is gone has no power button")
			}
			m.Kill() // is harmless now
		})
	}
}

func TestStartSaysWhatFailed(t *testing.T) {
	_, err := Start(t.Context(), Config{Isolated: true, ForceTCG: true, Kernel: "/nonexistent/vmlinuz", Initrd: "/nonexistent/initrd"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/vmlinuz") {
		t.Errorf("got %v, want QEMU's own complaint about the kernel", err)
	}
}

func TestSerialWaitFor(t *testing.T) {
	var copied strings.Builder
	s := newSerial(&copied)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go s.fill(r)
	if _, err := w.WriteString("address 10.0.0.7\n"); err != nil {
		t.Fatal(err)
	}
	got, err := s.WaitFor(t.Context(), 0, regexp.MustCompile(`address (\S+)\n`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"address 10.0.0.7\n", "10.0.0.7"}, got); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.WaitFor(ctx, s.Len(), regexp.MustCompile("address")); err == nil {
		t.Error("old output matched from a later position")
	}
	w.Close()
	if _, err := s.WaitFor(t.Context(), 0, regexp.MustCompile("never")); err == nil || !strings.Contains(err.Error(), "10.0.0.7") {
		t.Errorf("got %v, want an error with the end of the output", err)
	}
	if s.Text() != "address 10.0.0.7\n" || s.Tail(4) != "0.7\n" || copied.String() != s.Text() {
		t.Errorf("kept %q, copied %q", s.Text(), copied.String())
	}
}

func TestCreateDisk(t *testing.T) {
	dir := t.TempDir()
	for _, format := range []string{"raw", "qcow2"} {
		file := filepath.Join(dir, format)
		if err := CreateDisk(file, format, 3<<20); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if format == "raw" && info.Size() != 3<<20 {
			t.Errorf("raw disk has %d bytes", info.Size())
		}
	}
	if err := CreateDisk(filepath.Join(dir, "raw"), "raw", 1); err == nil {
		t.Error("an existing disk was overwritten")
	}
	if err := CreateDisk(filepath.Join(dir, "x"), "vmdk", 1); err == nil {
		t.Error("an unknown format was accepted")
	}
}

func TestSeedFollowsTheInitramfs(t *testing.T) {
	dir := t.TempDir()
	initrd := filepath.Join(dir, "initramfs")
	if err := os.WriteFile(initrd, []byte("initramfs..."), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{Kernel: "k", Initrd: initrd, Seed: []byte(`{"version":1}`)}
	p, err := c.prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := os.ReadFile(p.initrd)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(joined), "initramfs...070701") || !strings.Contains(string(joined), `{"version":1}`) {
		t.Errorf("the archive with the seed does not follow: %q", joined)
	}
}
