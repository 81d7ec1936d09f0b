package vmmhost

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/vmmapi"
)

// Options describe a guest.
type Options struct {
	VMM            string // path of the vmm
	Kernel, Initrd string // files; Initrd may be empty
	Cmdline        string // whole: see platform.CommandLine
	VCPUs          int
	MemoryBytes    uint64
	Disks          []Disk
	Nics           []Nic
	Vhost          bool     // network by vhost-net
	CID            uint32   // vsock context identifier, 0 for no vsock
	EarlySerial    bool     // transmit-only serial port
	EntropyRate    uint64   // bytes per second
	Errors         *os.File // where the vmm's own messages go; nil for nowhere
}

// Disk is a file or block device.
type Disk struct {
	Path     string
	ReadOnly bool
}

// Nic is a network interface.
type Nic struct {
	Tap string // name, made if absent
	MAC string // made up when empty
}

// config is a vmm's configuration and the files that its descriptors stand for.
type config struct {
	vmmapi.Config
	files []*os.File // from vmmapi.FirstFD on
}

func (c *config) close() {
	for _, f := range c.files {
		_ = f.Close()
	}
}

// pass hands f to the vmm and returns its number there.
func (c *config) pass(f *os.File) int {
	c.files = append(c.files, f)
	return vmmapi.FirstFD + len(c.files) - 1
}

func (c *config) open(path string, flag int) (int, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return 0, err
	}
	return c.pass(f), nil
}

func (g *Guest) configure(o Options) error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	c := &g.cfg
	c.Config = vmmapi.Config{
		Platform: vmmapi.Platform, Name: "vmmhost", ID: hex.EncodeToString(id[:]), VCPUs: o.VCPUs,
		MemoryBytes: o.MemoryBytes, Cmdline: o.Cmdline, EarlySerial: o.EarlySerial,
	}
	var err error
	if c.KVM, err = c.open("/dev/kvm", os.O_RDWR); err != nil {
		return err
	}
	if err := g.addMemory(); err != nil {
		return err
	}
	if c.Kernel, err = c.open(o.Kernel, os.O_RDONLY); err != nil {
		return err
	}
	if o.Initrd != "" {
		if c.Initrd, err = c.open(o.Initrd, os.O_RDONLY); err != nil {
			return err
		}
	}
	ring, err := os.Create(filepath.Join(g.dir, "console.ring"))
	if err != nil {
		return err
	}
	c.Console.Ring = c.pass(ring)
	if _, err := vmmapi.CreateRing(ring, vmmapi.DefaultRingBytes); err != nil {
		return err
	}
	for i, disk := range o.Disks {
		flag := os.O_RDWR
		if disk.ReadOnly {
			flag = os.O_RDONLY
		}
		fd, err := c.open(disk.Path, flag)
		if err != nil {
			return err
		}
		c.Disks = append(c.Disks, vmmapi.Disk{File: fd, ReadOnly: disk.ReadOnly, Serial: fmt.Sprintf("disk%d", i), Name: filepath.Base(disk.Path)})
	}
	if err := g.addNics(o); err != nil {
		return err
	}
	c.Entropy.BytesPerSecond = o.EntropyRate
	if c.Entropy.Source, err = c.open("/dev/urandom", os.O_RDONLY); err != nil {
		return err
	}
	if o.CID != 0 {
		fd, err := c.open("/dev/vhost-vsock", os.O_RDWR)
		if err != nil {
			return err
		}
		c.Vsock = &vmmapi.Vsock{Vhost: fd, CID: o.CID}
	}
	if g.outcome, err = os.Create(filepath.Join(g.dir, "outcome.json")); err != nil {
		return err
	}
	c.Outcome = c.pass(g.outcome)
	return nil
}

func (g *Guest) addMemory() error {
	// As dom0 does, for the whole host; without it the guest only runs slower.
	_ = os.WriteFile("/sys/kernel/mm/transparent_hugepage/shmem_enabled", []byte("advise"), 0)
	fd, err := unix.MemfdCreate("guest-memory", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "guest memory")
	g.cfg.Memory = g.cfg.pass(memory)
	return memory.Truncate(int64(g.cfg.MemoryBytes))
}

func (g *Guest) addNics(o Options) error {
	for i, n := range o.Nics {
		tap, err := openTap(n.Tap)
		if err != nil {
			return err
		}
		nic := vmmapi.Nic{Tap: g.cfg.pass(tap), MAC: cmp.Or(n.MAC, fmt.Sprintf("52:54:00:00:00:%02x", i+1))}
		if o.Vhost {
			if nic.Vhost, err = g.cfg.open("/dev/vhost-net", os.O_RDWR); err != nil {
				return err
			}
		}
		g.cfg.Nics = append(g.cfg.Nics, nic)
	}
	return nil
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	// Not through os.File: the descriptor must stay blocking until the vmm decides.
	req, err := unix.NewIfreq(name)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("tap %s: TUNSETIFF: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
