package qemu

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"gozen/image/initramfs"
)

// CreateDisk makes an empty disk of size bytes. Format is "raw" or "qcow2". When
// QEMU is killed, a raw disk keeps what was written to it, flushed or not, and a
// qcow2 disk most of it. One that loses it as in a power cut is for an NBD server
// to play.
func CreateDisk(file, format string, size int64) error {
	switch format {
	case "raw":
		f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("qemu: create disk: %w", err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			return fmt.Errorf("qemu: create disk %s: %w", file, err)
		}
		return f.Close()
	case "qcow2":
		out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", file, fmt.Sprint(size)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("qemu: create disk %s: %w: %s", file, err, out)
		}
		return nil
	}
	return fmt.Errorf("qemu: create disk %s: unknown format %q", file, format)
}

// firmwares are Debian's places for OVMF: code, and the template of its variables.
var firmwares = [][2]string{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
}

// prepare makes the files of a run below dir.
func (c *Config) prepare(dir string) (places, error) {
	p := places{monitor: filepath.Join(dir, "qmp"), forwards: make(map[int]int)}
	if c.Kernel != "" {
		p.initrd = c.Initrd
		if c.Seed == nil {
			return p, nil
		}
		p.initrd = filepath.Join(dir, "initrd")
		return p, joinSeed(p.initrd, c.Initrd, c.Seed)
	}
	for _, f := range firmwares {
		if _, err := os.Stat(f[0]); err != nil {
			continue
		}
		p.firmware, p.vars = f[0], filepath.Join(dir, "vars.fd")
		return p, copyFile(p.vars, f[1])
	}
	return p, fmt.Errorf("qemu: no UEFI firmware found (%s): install ovmf (make deps)", firmwares[0][0])
}

// joinSeed writes the initramfs followed by an archive with the seed.
func joinSeed(to, initrd string, seed []byte) error {
	if err := copyFile(to, initrd); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("qemu: add the seed: %w", err)
	}
	defer f.Close()
	if err := initramfs.WriteSeed(f, seed); err != nil {
		return fmt.Errorf("qemu: add the seed: %w", err)
	}
	return f.Close()
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return fmt.Errorf("qemu: copy %s: %w", from, err)
	}
	return dst.Close()
}
