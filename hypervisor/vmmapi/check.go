package vmmapi

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"

	"gozen/hypervisor/platform"
)

// Bounds of a Config.
const (
	MinMemoryBytes  = 16 << 20 // no Linux boots in less
	MemoryUnit      = 2 << 20  // memory is a multiple of this, so that it can be huge pages
	MaxDisks        = 16
	MaxNics         = 8
	MaxCmdlineBytes = 2047 // as Linux's COMMAND_LINE_SIZE on x86, without its final zero
	MaxSerialBytes  = 20   // virtio 1.2, 5.2.6.1: VIRTIO_BLK_ID_BYTES
	MinGuestCID     = 3    // virtio 1.2, 5.10.4: lower ones are reserved
)

// Check says what is wrong with the Config, apart from what its descriptors are.
func (c *Config) Check() error {
	if c.Platform != Platform {
		return fmt.Errorf("platform %q: this vmm has only %q", c.Platform, Platform)
	}
	if id, err := hex.DecodeString(c.ID); err != nil || len(id) != 16 {
		return fmt.Errorf("id %q: not 32 hexadecimal digits", c.ID)
	}
	if c.VCPUs < 1 || c.VCPUs > platform.MaxVCPUs {
		return fmt.Errorf("%d vCPUs: not between 1 and %d", c.VCPUs, platform.MaxVCPUs)
	}
	if c.MemoryBytes < MinMemoryBytes || c.MemoryBytes > platform.MaxRAM {
		return fmt.Errorf("memory of %d bytes: not between %d and %d", c.MemoryBytes, uint64(MinMemoryBytes), uint64(platform.MaxRAM))
	}
	if c.MemoryBytes%MemoryUnit != 0 {
		return fmt.Errorf("memory of %d bytes: not a multiple of %d", c.MemoryBytes, MemoryUnit)
	}
	if len(c.Cmdline) > MaxCmdlineBytes {
		return fmt.Errorf("kernel command line of %d bytes: more than %d", len(c.Cmdline), MaxCmdlineBytes)
	}
	if strings.IndexByte(c.Cmdline, 0) >= 0 {
		return errors.New("kernel command line: contains a zero byte")
	}
	if len(c.Disks) > MaxDisks {
		return fmt.Errorf("%d disks: more than %d", len(c.Disks), MaxDisks)
	}
	for i, d := range c.Disks {
		if len(d.Serial) > MaxSerialBytes {
			return fmt.Errorf("disk %d (%s): serial %q: more than %d bytes", i, d.Name, d.Serial, MaxSerialBytes)
		}
	}
	if len(c.Nics) > MaxNics {
		return fmt.Errorf("%d network devices: more than %d", len(c.Nics), MaxNics)
	}
	for i, n := range c.Nics {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return fmt.Errorf("network device %d: %q is not the address of an Ethernet station", i, n.MAC)
		}
	}
	if c.Vsock != nil && c.Vsock.CID < MinGuestCID {
		return fmt.Errorf("vsock: context id %d: lower than %d", c.Vsock.CID, MinGuestCID)
	}
	return c.checkDescriptors()
}

// Descriptors calls f with the name and number of every descriptor in the
// Config, in the order of its fields, until f returns an error.
func (c *Config) Descriptors(f func(name string, fd int) error) error {
	type named struct {
		name string
		fd   int
	}
	all := []named{{"kvm", c.KVM}, {"memory", c.Memory}, {"kernel", c.Kernel}}
	if c.Initrd != 0 {
		all = append(all, named{"initrd", c.Initrd})
	}
	all = append(all, named{"console ring", c.Console.Ring})
	for i, d := range c.Disks {
		all = append(all, named{fmt.Sprintf("disk %d", i), d.File})
	}
	for i, n := range c.Nics {
		all = append(all, named{fmt.Sprintf("tap %d", i), n.Tap})
		if n.Vhost != 0 {
			all = append(all, named{fmt.Sprintf("vhost-net %d", i), n.Vhost})
		}
	}
	all = append(all, named{"entropy source", c.Entropy.Source})
	if c.Vsock != nil {
		all = append(all, named{"vhost-vsock", c.Vsock.Vhost})
	}
	all = append(all, named{"outcome", c.Outcome})
	for _, d := range all {
		if err := f(d.name, d.fd); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkDescriptors() error {
	seen := make(map[int]string)
	return c.Descriptors(func(name string, fd int) error {
		if fd < FirstFD {
			return fmt.Errorf("%s: descriptor %d: lower than %d", name, fd, FirstFD)
		}
		if other, ok := seen[fd]; ok {
			return fmt.Errorf("%s: descriptor %d: is %s already", name, fd, other)
		}
		seen[fd] = name
		return nil
	})
}
