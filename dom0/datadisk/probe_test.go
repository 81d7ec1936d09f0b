package datadisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const diskSize = 16 << 20

// superblock returns the first bytes of an XFS file system.
func superblock(label string, inProgress byte) []byte {
	sb := make([]byte, 512)
	copy(sb, xfsMagic)
	binary.BigEndian.PutUint32(sb[4:], 4096)
	copy(sb[xfsLabelOffset:], label)
	sb[xfsInProgOffset] = inProgress
	return sb
}

func TestProbe(t *testing.T) {
	damaged := superblock(Label, 0)
	binary.BigEndian.PutUint32(damaged[4:], 3)
	cases := []struct {
		name string
		at   int
		data string
		kind kind
		what string
	}{
		{"zero", 0, "", blank, ""},
		{"ours", 0, string(superblock(Label, 0)), ours, ""},
		{"mkfs cut short", 0, string(superblock(Label, 1)), interrupted, ""},
		{"ours damaged", 0, string(damaged), foreign, "damaged"},
		{"other xfs", 0, string(superblock("home", 0)), foreign, "XFS file system with another label"},
		{"longer label", 0, string(superblock(Label+"2", 0)), foreign, "XFS file system with another label"},
		{"gpt", 512, "EFI PART", foreign, "GPT"},
		{"mbr", 510, "\x55\xaa", foreign, "partition table"},
		{"ext4", 1080, "\x53\xef", foreign, "ext4"},
		{"luks", 0, "LUKS\xba\xbe", foreign, "LUKS"},
		{"btrfs", 65600, "_BHRfS_M", foreign, "btrfs"},
		{"swap", 4086, "SWAPSPACE2", foreign, "swap"},
		{"last byte of the first MiB", 1<<20 - 1, "x", foreign, "beginning"},
		{"backup partition table", diskSize - 512, "EFI PART", foreign, "end"},
		{"last byte", diskSize - 1, "x", foreign, "end"},
		{"first byte of the last MiB", diskSize - 1<<20, "x", foreign, "end"},
		{"in the middle", diskSize / 2, "x", foreign, "at byte 8388608"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			disk := make([]byte, diskSize)
			copy(disk[c.at:], c.data)
			got, err := probe(bytes.NewReader(disk), diskSize)
			if err != nil {
				t.Fatal(err)
			}
			if got.kind != c.kind || !strings.Contains(got.what, c.what) {
				t.Errorf("got %+v, want kind %d with %q", got, c.kind, c.what)
			}
		})
	}
}

func TestProbeSmallAndShort(t *testing.T) {
	for _, size := range []int64{1, 511, 512, 4096, edge, edge + 1} {
		got, err := probe(bytes.NewReader(make([]byte, size)), size)
		if err != nil || got.kind != blank {
			t.Errorf("%d bytes: %+v, %v", size, got, err)
		}
	}
	if _, err := probe(bytes.NewReader(nil), 0); err == nil {
		t.Error("a drive without a medium was taken for a disk")
	}
	// A disk that cannot be read to its end is not taken for blank.
	if got, err := probe(bytes.NewReader(make([]byte, edge)), 4*edge); err == nil {
		t.Errorf("a disk with unreadable parts is %+v", got)
	}
}

// FuzzProbe checks that only a disk of zeros is blank.
func FuzzProbe(f *testing.F) {
	f.Add(superblock(Label, 0), 0)
	f.Add([]byte("EFI PART"), 512)
	f.Add([]byte{1}, 1<<20)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		const size = 2 << 20
		disk := make([]byte, size)
		if at < 0 || at > size {
			return
		}
		copy(disk[at:], data)
		got, err := probe(bytes.NewReader(disk), size)
		if err != nil {
			t.Fatal(err)
		}
		if (got.kind == blank) != zero(disk) {
			t.Fatalf("%+v", got)
		}
	})
}

func TestFind(t *testing.T) {
	sys := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("vda/serial", "DATA\n")
	write("nvme0n1/device/serial", "S5XY   \n")
	write("sda/device/vpd_pg80", "\x00\x80\x00\x08  WD-42\x00")
	write("sdb/device/vpd_pg80", "\x00\x80\x00\x04SAME")
	write("sdc/device/vpd_pg80", "\x00\x80\x00\x04SAME")
	write("loop0/size", "0")
	for serial, want := range map[string]string{"DATA": "vda", "S5XY": "nvme0n1", "WD-42": "sda"} {
		got, err := findNow(sys, "/dev", "serial="+serial)
		if err != nil || got != "/dev/"+want {
			t.Errorf("%s: %q, %v", serial, got, err)
		}
	}
	if _, err := findNow(sys, "/dev", "serial=SAME"); err == nil || !strings.Contains(err.Error(), "/dev/sdb and /dev/sdc") {
		t.Errorf("two disks with one number: %v", err)
	}
	if _, err := findNow(sys, "/dev", "/dev/null"); err == nil || !strings.Contains(err.Error(), "no block device") {
		t.Errorf("/dev/null: %v", err)
	}
	list := strings.Join(describe(sys), ", ")
	for _, want := range []string{"/dev/vda (serial=DATA)", "/dev/loop0"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q lacks %q", list, want)
		}
	}
}

func TestFindGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := find(ctx, "/dev/there-is-no-such-disk"); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("error is %v", err)
	}
}
