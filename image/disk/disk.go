package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs"
	fsdisk "github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Places on the EFI system partition.
const (
	BootFile = "/EFI/BOOT/BOOTX64.EFI" // UEFI 2.10, 3.5.1.1: removable media
	SeedFile = "/gozen/seed.json"
)

// Label is the name of partition and file system.
const Label = "GOZEN"

const (
	sector    = 512
	mebibyte  = 1 << 20
	firstByte = mebibyte // of the partition: aligned for every disk
	lastTable = mebibyte // room for the second partition table at the disk's end

	// spare is what the partition has beyond its files, for larger versions.
	spare = 64 * mebibyte
	// smallest makes enough clusters for the file system to be FAT32, which is what
	// firmware expects; below 65525 it would be read as FAT16.
	smallest = 128 * mebibyte
)

// Write makes the image file, sparse, holding the EFI program and, when seed is
// not nil, the seed.
func Write(file string, program, seed []byte) error {
	if err := write(file, program, seed); err != nil {
		return fmt.Errorf("disk image %s: %w", file, err)
	}
	return nil
}

func write(file string, program, seed []byte) error {
	partition := roundUp(max(int64(len(program)+len(seed))+spare, smallest), mebibyte)
	temp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	defer os.Remove(temp)
	d, err := diskfs.Create(temp, firstByte+partition+lastTable, diskfs.SectorSize512)
	if err != nil {
		return err
	}
	// The library's disk can be closed once only.
	err = fill(d, partition, program, seed)
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// fill partitions the disk and writes the files; partition is the partition's
// size in bytes.
func fill(d *fsdisk.Disk, partition int64, program, seed []byte) error {
	if err := d.Partition(&gpt.Table{
		LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{{
			Index: 1, Type: gpt.EFISystemPartition, Name: Label,
			Start: firstByte / sector, End: uint64(firstByte+partition)/sector - 1,
		}},
	}); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	fs, err := d.CreateFilesystem(fsdisk.FilesystemSpec{Partition: 1, FSType: filesystem.TypeFat32, VolumeLabel: Label})
	if err != nil {
		return fmt.Errorf("file system: %w", err)
	}
	if err := put(fs, BootFile, program); err != nil {
		return err
	}
	if seed != nil {
		if err := put(fs, SeedFile, seed); err != nil {
			return err
		}
	}
	return fs.Close()
}

// put writes a file with its directories.
func put(fs filesystem.FileSystem, name string, content []byte) error {
	if err := fs.Mkdir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(name), err)
	}
	f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.Close()
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
