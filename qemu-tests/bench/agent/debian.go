package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

const debianMemory = 768 // MiB

// debian boots Debian's own kernel and initrd from a fresh clone of its disk to
// the login prompt.
func (h *host) debian(ctx context.Context, s protocol.Step, a *answer) error {
	disk, err := h.debianClone()
	if err != nil {
		return err
	}
	defer os.Remove(disk)
	name := string(s.Subject)
	g, err := startGuest(ctx, s, machine{
		kernel: protocol.DebianKernel, initrd: protocol.DebianInitrd, vcpus: 1, memoryMiB: debianMemory, disks: []string{disk},
		words: []string{"quiet", "root=/dev/vda", "rw"}, distribution: true,
	})
	if err != nil {
		return err
	}
	defer g.stop()
	// The line before "login:", which has no end: Debian GNU/Linux 12 debian hvc0
	if err := g.until(ctx, "login prompt", func(line string) bool {
		return strings.HasPrefix(line, "Debian GNU/Linux") && (strings.HasSuffix(line, "hvc0") || strings.HasSuffix(line, "ttyS0"))
	}, nil); err != nil {
		return err
	}
	wall, cpu := time.Since(g.started), cpuTime(g.pid)
	n, err := exits(g.pid)
	if err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "debian.wall", Subject: name, Value: milliseconds(wall)})
	a.sample(measure.Sample{Measure: "debian.cpu", Subject: name, Value: milliseconds(cpu)})
	a.sample(measure.Sample{Measure: "debian.exits", Subject: name, Value: float64(n)})
	return nil
}

// debianClone makes a disk of its own for a run. The first call copies the disk to
// the file system, from where clones share its blocks.
func (h *host) debianClone() (string, error) {
	if h.debianDevice == "" || h.fileDisk == "" {
		return "", errors.New("the launcher gave no Debian disk")
	}
	master := filepath.Join(fileMount, "debian.raw")
	if _, err := os.Stat(master); err != nil {
		if err := copySparse(master, h.debianDevice); err != nil {
			return "", err
		}
	}
	src, err := os.Open(master)
	if err != nil {
		return "", err
	}
	defer src.Close()
	clone, err := os.Create(filepath.Join(fileMount, "debian-clone.raw"))
	if err != nil {
		return "", err
	}
	defer clone.Close()
	if err := unix.IoctlFileClone(int(clone.Fd()), int(src.Fd())); err != nil {
		return "", fmt.Errorf("clone %s: %w", master, err)
	}
	return clone.Name(), clone.Sync()
}

// copySparse copies a device to a file with holes where there are zeros.
func copySparse(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to + ".part")
	if err != nil {
		return err
	}
	defer dst.Close()
	block, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(src, block)
		if err == io.EOF {
			break
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		if string(block[:n]) == string(zero[:n]) {
			_, err = dst.Seek(int64(n), io.SeekCurrent)
		} else {
			_, err = dst.Write(block[:n])
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	size, err := dst.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := errors.Join(dst.Truncate(size), dst.Sync()); err != nil {
		return err
	}
	return os.Rename(to+".part", to)
}
