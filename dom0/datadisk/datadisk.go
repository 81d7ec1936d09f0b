package datadisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"gozen/dom0/procfs"
	"gozen/dom0/seed"

	"golang.org/x/sys/unix"
)

// Wait is how long a disk may take to appear after the start of the machine.
const Wait = 30 * time.Second

// mkfs is the program that makes the file system, and the smallest disk that it
// takes, in bytes.
const (
	mkfs     = "/sbin/mkfs.xfs"
	smallest = 300 << 20
)

// memoryShare of the machine's memory may be filled by state, without a disk.
const memoryShare = "40%"

// Config says where the state is to live.
type Config struct {
	Disk       seed.DataDisk
	MountPoint string // "/data" on a host
	Log        *slog.Logger
}

// Status is where the state lives.
type Status struct {
	Persistent bool
	Device     string // "" in memory
	Filesystem string // "xfs" or "tmpfs"
	SizeBytes  uint64
	FreeBytes  uint64
	Problem    string // why the disk that the seed names is not used
}

// Store is a place for state. Its methods may be used from many goroutines.
type Store struct {
	mountPoint string
	device     string
	filesystem string
	problem    string
}

// Open mounts the disk, or memory when there is none to use, or takes over what
// is mounted already. It fails only when not even memory can be had.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{mountPoint: cfg.MountPoint}
	if dev, fs, ok := mounted(cfg.MountPoint); ok {
		s.filesystem = fs
		if fs == "xfs" {
			s.device = dev
		} else if cfg.Disk.Device != "" {
			s.problem = fmt.Sprintf("data disk %s: not used; restart the host to try again", cfg.Disk.Device)
		}
		return s, nil
	}
	if err := os.MkdirAll(cfg.MountPoint, 0o755); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if cfg.Disk.Device != "" {
		dev, err := open(ctx, cfg)
		if err == nil {
			s.device, s.filesystem = dev, "xfs"
			return s, nil
		}
		s.problem = fmt.Sprintf("data disk %s: %v", cfg.Disk.Device, err)
		cfg.Log.Error(s.problem + "; state is kept in memory and lost at power-off")
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("data", cfg.MountPoint, "tmpfs", flags, "mode=0755,size="+memoryShare); err != nil {
		return nil, fmt.Errorf("state: mounting memory at %s: %w", cfg.MountPoint, err)
	}
	s.filesystem = "tmpfs"
	return s, nil
}

// Status asks the kernel for the sizes.
func (s *Store) Status() Status {
	out := Status{Persistent: s.device != "", Device: s.device, Filesystem: s.filesystem, Problem: s.problem}
	var st unix.Statfs_t
	if err := unix.Statfs(s.mountPoint, &st); err == nil {
		out.SizeBytes = st.Blocks * uint64(st.Bsize)
		out.FreeBytes = st.Bavail * uint64(st.Bsize)
	}
	return out
}

// open finds, if need be formats, and mounts the disk.
func open(ctx context.Context, cfg Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	dev, err := find(ctx, cfg.Disk.Device)
	if err != nil {
		return "", err
	}
	found, size, err := examine(dev)
	if err != nil {
		return "", err
	}
	switch found.kind {
	case ours:
	case blank, interrupted:
		if !cfg.Disk.FormatIfBlank {
			return "", errors.New("is blank; set data_disk.format_if_blank in the seed to let Gozen format it")
		}
		if size < smallest {
			return "", fmt.Errorf("is blank but has only %d MiB; XFS needs %d MiB", size>>20, smallest>>20)
		}
		cfg.Log.Info("formatting the blank data disk", "device", dev)
		if err := format(dev, found.kind == interrupted); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("holds %s and is left untouched; name another disk in the seed, or erase this one elsewhere if nothing on it is needed", found.what)
	}
	flags := uintptr(unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount(dev, cfg.MountPoint, "xfs", flags, "discard"); err != nil {
		if errors.Is(err, unix.EUCLEAN) {
			return "", fmt.Errorf("its file system is damaged (%w); repair it elsewhere with xfs_repair", err)
		}
		return "", fmt.Errorf("mount: %w", err)
	}
	return dev, nil
}

// examine reads a disk that nobody else uses.
func examine(dev string) (content, int64, error) {
	// O_EXCL on a block device: not mounted, not part of anything (open(2)).
	f, err := os.OpenFile(dev, os.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return content{}, 0, errors.New("is in use by another part of the system")
	}
	if err != nil {
		return content{}, 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return content{}, 0, err
	}
	found, err := probe(f, size)
	return found, size, err
}

// format makes the file system. mkfs.xfs looks for other contents once more by
// itself, unless it is to overwrite its own unfinished work.
func format(dev string, again bool) error {
	args := []string{"-q", "-L", Label, "-m", "reflink=1"}
	if again {
		args = append(args, "-f")
	}
	cmd := exec.Command(mkfs, append(args, dev)...)
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("formatting: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// mounted tells what is mounted at a place.
func mounted(target string) (dev, fs string, ok bool) {
	mounts, err := procfs.Mounts()
	if err != nil {
		return "", "", false
	}
	for _, m := range mounts {
		if m.Point == target {
			dev, fs, ok = m.Source, m.Type, true // the last one covers the others
		}
	}
	return dev, fs, ok
}
