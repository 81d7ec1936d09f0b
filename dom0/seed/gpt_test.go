package seed

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// testGPT writes a primary partition table.
func testGPT(blockSize int, entrySize uint32, parts []partition) []byte {
	disk := make([]byte, 40*blockSize+len(parts)*int(entrySize))
	header := disk[blockSize:]
	copy(header, "EFI PART")
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], uint32(len(parts)))
	binary.LittleEndian.PutUint32(header[84:], entrySize)
	for i, p := range parts {
		entry := disk[2*blockSize+i*int(entrySize):]
		copy(entry, p.typ[:])
		for j, u := range utf16.Encode([]rune(p.label)) {
			binary.LittleEndian.PutUint16(entry[56+2*j:], u)
		}
	}
	return disk
}

func TestReadGPT(t *testing.T) {
	linux := [16]byte{1, 2, 3}
	parts := []partition{{1, efiSystem, "ESP"}, {2, linux, seedLabel}, {3, [16]byte{}, ""}, {4, linux, "Räder"}}
	for _, c := range []struct {
		block int
		entry uint32
	}{{512, 128}, {4096, 128}, {512, 256}} {
		got, err := readGPT(bytes.NewReader(testGPT(c.block, c.entry, parts)), c.block)
		if err != nil {
			t.Fatal(err)
		}
		want := []partition{parts[0], parts[1], parts[3]}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(partition{})); diff != "" {
			t.Errorf("blocks of %d, entries of %d (-want +got):\n%s", c.block, c.entry, diff)
		}
	}
	if !parts[0].mayHoldSeed() || !parts[1].mayHoldSeed() || parts[3].mayHoldSeed() {
		t.Error("the wrong partitions are looked at")
	}
}

func TestReadGPTRefuses(t *testing.T) {
	good := testGPT(512, 128, []partition{{1, efiSystem, "ESP"}})
	change := func(at int, v uint32) []byte {
		disk := bytes.Clone(good)
		binary.LittleEndian.PutUint32(disk[512+at:], v)
		return disk
	}
	for name, disk := range map[string][]byte{
		"no signature":    change(0, 0),
		"many entries":    change(80, 1<<31),
		"small entries":   change(84, 64),
		"large entries":   change(84, 1<<20),
		"table at 0":      change(72, 0),
		"table far away":  change(72, 1<<30),
		"table very far":  change(76, 1<<30),
		"short disk":      good[:600],
		"shorter disk":    good[:100],
		"table cut short": good[:2*512+64],
	} {
		if parts, err := readGPT(bytes.NewReader(disk), 512); err == nil {
			t.Errorf("%s: accepted as %v", name, parts)
		}
	}
}

// TestCandidates lays out a machine with two disks as sysfs and devtmpfs show it.
func TestCandidates(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	linux := [16]byte{9}
	disks := map[string][]byte{
		"sda":     testGPT(512, 128, []partition{{1, linux, "root"}, {2, efiSystem, ""}}),
		"nvme0n1": testGPT(4096, 128, []partition{{1, linux, seedLabel}}),
		"sdb":     make([]byte, 4096),
	}
	blocks := map[string]string{"sda": "512\n", "nvme0n1": "4096\n", "sdb": "512\n"}
	for name, content := range disks {
		write(filepath.Join(dev, name), string(content))
		write(filepath.Join(sys, name, "queue/logical_block_size"), blocks[name])
	}
	for _, p := range [][2]string{{"sda", "sda1"}, {"sda", "sda2"}, {"nvme0n1", "nvme0n1p1"}} {
		n := p[1][len(p[1])-1:]
		write(filepath.Join(sys, p[0], p[1], "partition"), n+"\n")
		write(filepath.Join(sys, p[1], "partition"), n+"\n")
	}
	got := candidates(sys, dev)
	want := []string{filepath.Join(dev, "nvme0n1p1"), filepath.Join(dev, "sda2")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
}

// FuzzReadGPT checks that no disk can make the reader fail otherwise than by an
// error, or make it use much memory.
func FuzzReadGPT(f *testing.F) {
	f.Add(testGPT(512, 128, []partition{{1, efiSystem, "ESP"}}), 512)
	f.Add(testGPT(4096, 256, []partition{{1, efiSystem, "x"}, {2, [16]byte{1}, seedLabel}}), 4096)
	f.Add([]byte("EFI PART"), 512)
	f.Fuzz(func(t *testing.T, disk []byte, blockSize int) {
		parts, err := readGPT(bytes.NewReader(disk), blockSize)
		if err != nil {
			return
		}
		if len(parts) > maxEntries {
			t.Fatalf("%d partitions", len(parts))
		}
	})
}
