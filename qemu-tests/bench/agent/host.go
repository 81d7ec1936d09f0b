package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gozen/qemu-tests/bench/protocol"
	"gozen/qemu-tests/bench/work"
)

const (
	bridgeName  = "bench0"
	hostAddress = "10.88.0.1"
	// Space of guests' disks. Larger than any cache of a device, smaller than memory.
	diskBytes = 512 << 20

	fileMount = "/bench-file"
)

// host is what guests of the benchmark need of the host.
type host struct {
	rawDevice    string
	fileDisk     string // file on a file system
	debianDevice string // "" without Debian
}

// newHost mounts what is to be read, and makes the network and the disks.
func newHost() (*host, error) {
	for _, m := range []struct{ fstype, dir string }{
		{"debugfs", "/sys/kernel/debug"}, {"tracefs", tracing}, {"devpts", "/dev/pts"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil && !errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	h := &host{}
	file, err := waitDisk(protocol.FileDisk)
	if err == nil {
		h.rawDevice, err = waitDisk(protocol.RawDisk)
	}
	if err == nil {
		err = h.makeFile(file)
	}
	if err != nil {
		return nil, err
	}
	// The launcher gives it last, so it is there when the others are, or not at all.
	h.debianDevice, _ = diskBySerial(protocol.DebianDisk)
	if err := makeBridge(); err != nil {
		return nil, err
	}
	// What guests connect to, for as long as the agent runs.
	_, err = work.Serve(netip.MustParseAddr(hostAddress))
	return h, err
}

// diskBySerial finds a virtio disk.
func diskBySerial(serial string) (string, bool) {
	files, _ := filepath.Glob("/sys/block/vd*/serial")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(f)), true
		}
	}
	return "", false
}

// waitDisk waits for a disk that the launcher gave: PID 1 starts the agent while it
// still loads drivers.
func waitDisk(serial string) (string, error) {
	for range 100 {
		if dev, ok := diskBySerial(serial); ok {
			return dev, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return "", fmt.Errorf("the host has no disk with the serial number %q", serial)
}

func mount(dev, dir, fstype string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dev, dir, fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s: %w", dev, err)
	}
	return nil
}

// makeFile formats dev and makes a file of written blocks on it: reads of holes
// and first writes to them would be measured otherwise.
func (h *host) makeFile(dev string) error {
	h.fileDisk = filepath.Join(fileMount, "disk.raw")
	if _, err := os.Stat(h.fileDisk); err == nil {
		return nil // the agent was started again
	}
	if out, err := exec.Command("/sbin/mkfs.xfs", "-f", "-q", dev).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.xfs %s: %w: %s", dev, err, out)
	}
	if err := mount(dev, fileMount, "xfs"); err != nil {
		return err
	}
	return fill(h.fileDisk)
}

// fill writes the whole of a disk.
func fill(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 31)
	}
	for range diskBytes / len(block) {
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("fill %s: %w", path, err)
		}
	}
	return f.Sync()
}

// makeBridge makes the network of the benchmark's guests, apart from that of dom0.
func makeBridge() error {
	if _, err := netlink.LinkByName(bridgeName); err == nil {
		return nil
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge %s: %w", bridgeName, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(hostAddress).To4(), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(bridge, addr); err != nil {
		return fmt.Errorf("bridge %s: %w", bridgeName, err)
	}
	return netlink.LinkSetUp(bridge)
}

// makeTap makes a tap that a VMM opens by its name, on the bridge.
func makeTap(name string) (remove func(), err error) {
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return nil, err
	}
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR | netlink.TUNTAP_ONE_QUEUE}
	if err := netlink.LinkAdd(tap); err != nil {
		return nil, fmt.Errorf("tap %s: %w", name, err)
	}
	for _, fd := range tap.Fds {
		_ = fd.Close()
	}
	remove = func() { _ = netlink.LinkDel(tap) }
	if err := netlink.LinkSetMaster(tap, bridge); err != nil {
		remove()
		return nil, fmt.Errorf("tap %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		remove()
		return nil, fmt.Errorf("tap %s: %w", name, err)
	}
	return remove, nil
}
