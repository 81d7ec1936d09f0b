package datadisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// look is the pause between looks for a disk that is not there yet.
const look = 200 * time.Millisecond

var errNotThere = errors.New("is not there")

// find waits for the disk until ctx ends and returns its device file.
func find(ctx context.Context, device string) (string, error) {
	for {
		dev, err := findNow("/sys/block", "/dev", device)
		if !errors.Is(err, errNotThere) {
			return dev, err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w; the disks of this machine are %s", err, strings.Join(describe("/sys/block"), ", "))
		case <-time.After(look):
		}
	}
}

func findNow(sysDir, devDir, device string) (string, error) {
	serial, bySerial := strings.CutPrefix(device, "serial=")
	if !bySerial {
		info, err := os.Stat(device)
		if errors.Is(err, os.ErrNotExist) {
			return "", errNotThere
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
			return "", errors.New("is no block device")
		}
		return device, nil
	}
	var found []string
	for _, disk := range disks(sysDir) {
		if diskSerial(filepath.Join(sysDir, disk)) == serial {
			found = append(found, filepath.Join(devDir, disk))
		}
	}
	switch len(found) {
	case 0:
		return "", errNotThere
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("is not one disk: %s have this serial number; name one by its path", strings.Join(found, " and "))
}

// disks returns the names of whole disks.
func disks(sysDir string) []string {
	entries, err := os.ReadDir(sysDir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// describe lists disks for a message.
func describe(sysDir string) []string {
	var out []string
	for _, disk := range disks(sysDir) {
		text := "/dev/" + disk
		if serial := diskSerial(filepath.Join(sysDir, disk)); serial != "" {
			text += " (serial=" + serial + ")"
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return []string{"none"}
	}
	return out
}

// diskSerial reads a serial number where the kinds of disks have it.
func diskSerial(dir string) string {
	for _, name := range []string{"serial", "device/serial"} { // virtio; NVMe, MMC
		if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			if s := strings.TrimSpace(string(text)); s != "" {
				return s
			}
		}
	}
	// SCSI and ATA: the vital product data page 80h, a header of four bytes and
	// the number (SPC-4, 7.8.15).
	page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80"))
	if err != nil || len(page) < 4 {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(page[4:]), "\x00"))
}
