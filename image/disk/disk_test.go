package disk

import (
	"bytes"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

func TestWrite(t *testing.T) {
	// 40 MiB of what does not compress and is no multiple of anything.
	program := make([]byte, 40<<20+7)
	rand.New(rand.NewSource(1)).Read(program)
	for _, c := range []struct {
		name string
		seed []byte
	}{
		{"without a seed", nil},
		{"with a seed", []byte(`{"version": 1}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "gozen.img")
			if err := Write(file, program, c.seed); err != nil {
				t.Fatal(err)
			}
			if err := Write(file, program, c.seed); err != nil {
				t.Fatalf("over an old image: %v", err)
			}
			d, err := diskfs.Open(file, diskfs.WithOpenMode(diskfs.ReadOnly))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			table, err := d.GetPartitionTable()
			if err != nil {
				t.Fatal(err)
			}
			parts := table.(*gpt.Table).Partitions
			if len(parts) != 1 || parts[0].Type != gpt.EFISystemPartition || parts[0].Start%2048 != 0 {
				t.Errorf("partitions are %+v", parts)
			}
			fs, err := d.GetFilesystem(1)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string][]byte{BootFile: program, SeedFile: c.seed} {
				f, err := fs.OpenFile(name, os.O_RDONLY)
				if want == nil {
					if err == nil {
						t.Errorf("%s is there", name)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(f)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes read (%v), they differ from the %d written", name, len(got), err, len(want))
				}
			}
			left, err := os.ReadDir(filepath.Dir(file))
			if err != nil || len(left) != 1 {
				t.Errorf("files left behind: %v (%v)", left, err)
			}
		})
	}
}
