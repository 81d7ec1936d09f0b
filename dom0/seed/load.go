package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Places of a seed.
const (
	initramfsFile = "/seed/seed.json" // in the running system
	partitionFile = "gozen/seed.json" // in a partition
	seedLabel     = "gozen"           // of a partition that is no EFI system partition
	mountPoint    = "/run/gozen/seed" // for a moment
)

// rescan is the pause between looks at the block devices while they appear.
const rescan = 250 * time.Millisecond

// ErrNone is returned when no seed was found.
var ErrNone = errors.New("no seed found: put one at /gozen/seed.json on the EFI system partition of the disk that the host starts from, or give the boot loader a second initrd with seed/seed.json")

var errNoFAT = errors.New("no FAT file system")

// Load finds the seed and tells where it was. Disks may appear late: without a
// seed in the initramfs they are looked at until ctx ends. A seed that is found
// and broken is an error at once; no other is looked for.
func Load(ctx context.Context) (s *Seed, where string, err error) {
	s, err = readFile(initramfsFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, initramfsFile, err
	}
	seen := make(map[string]bool)
	for {
		for _, dev := range candidates("/sys/class/block", "/dev") {
			if seen[dev] {
				continue
			}
			seen[dev] = true
			where := dev + ":/" + partitionFile
			s, err := readPartition(dev)
			switch {
			case err == nil:
				return s, where, nil
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoFAT):
			default:
				return nil, where, fmt.Errorf("%s: %w", where, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil, "", ErrNone
		case <-time.After(rescan):
		}
	}
}

// readFile reads a seed of bounded size.
func readFile(name string) (*Seed, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// readPartition mounts a FAT file system read-only, reads the seed and unmounts.
// What is no FAT file system holds no seed.
func readPartition(dev string) (*Seed, error) {
	if err := os.MkdirAll(mountPoint, 0o700); err != nil {
		return nil, err
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount(dev, mountPoint, "vfat", flags, ""); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return nil, errors.New("cannot be read: the kernel module vfat is missing in this image")
		}
		return nil, errNoFAT
	}
	s, err := readFile(filepath.Join(mountPoint, partitionFile))
	if uerr := unix.Unmount(mountPoint, 0); uerr != nil {
		err = errors.Join(err, os.NewSyscallError("umount "+dev, uerr))
	}
	return s, err
}

// candidates returns the device files of partitions that may hold a seed, in
// the order of their names. sysDir is /sys/class/block on a host.
func candidates(sysDir, devDir string) []string {
	entries, err := os.ReadDir(sysDir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		disk := filepath.Join(sysDir, e.Name())
		if _, err := os.Stat(filepath.Join(disk, "partition")); err == nil {
			continue // not a whole disk
		}
		found := mayHoldSeed(filepath.Join(devDir, e.Name()), blockSize(disk))
		if len(found) == 0 {
			continue
		}
		parts, _ := filepath.Glob(filepath.Join(disk, e.Name()+"*", "partition"))
		for _, file := range parts {
			n, err := number(file)
			if err == nil && slices.Contains(found, n) {
				out = append(out, filepath.Join(devDir, filepath.Base(filepath.Dir(file))))
			}
		}
	}
	slices.Sort(out)
	return out
}

// mayHoldSeed returns the numbers of a disk's partitions to look at.
func mayHoldSeed(dev string, blockSize int) []int {
	f, err := os.Open(dev)
	if err != nil {
		return nil // no medium, or gone
	}
	defer f.Close()
	parts, err := readGPT(f, blockSize)
	if err != nil {
		return nil
	}
	var out []int
	for _, p := range parts {
		if p.mayHoldSeed() {
			out = append(out, p.number)
		}
	}
	return out
}

func blockSize(disk string) int {
	n, err := number(filepath.Join(disk, "queue/logical_block_size"))
	if err != nil {
		return 512
	}
	return n
}

func number(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
