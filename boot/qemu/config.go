package qemu

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// APIPort is the port on which a Gozen host serves its management API.
const APIPort = 8443

// Bus is how a disk is attached.
type Bus string

// Buses for disks.
const (
	Virtio Bus = "virtio" // virtio-blk, /dev/vdX; the default
	NVMe   Bus = "nvme"   // /dev/nvmeXn1
	SATA   Bus = "sata"   // AHCI, /dev/sdX
	USB    Bus = "usb"    // a stick, /dev/sdX
)

// Disk is a disk of the machine.
type Disk struct {
	File   string // as CreateDisk makes it
	NBD    string // Unix socket of an NBD server that has the disk, in place of File
	Format string // "raw" (when empty) or "qcow2"
	Bus    Bus
	Serial string // at most 20 bytes
	// Discard keeps changes away from File; they are lost with the machine.
	Discard bool
	// Boot makes the firmware start from this disk.
	Boot bool
}

// Config describes a machine.
type Config struct {
	CPUs      int // 2 when 0
	MemoryMiB int // 2048 when 0

	// Boot without firmware. Seed, when there is one, follows the initramfs as a
	// second archive. With no Kernel, UEFI firmware boots off a disk.
	Kernel  string
	Initrd  string
	Cmdline string
	Seed    []byte

	Disks []Disk

	// NIC is QEMU's name of the network card: "virtio-net-pci" when empty.
	NIC string
	// Isolated lets the machine reach nothing outside; the API is forwarded still.
	Isolated bool
	// Forward lists further ports of the machine to forward to 127.0.0.1; see
	// Machine.Address.
	Forward []int

	// Graphics adds a display, for Machine.Screenshot.
	Graphics bool
	// Interactive joins the serial console to this process's terminal; Ctrl-A X
	// pulls the plug.
	Interactive bool
	// HaltOnReset ends the machine when it would reboot.
	HaltOnReset bool
	// ForceTCG uses software emulation even where KVM works.
	ForceTCG bool
	// Extra are further arguments for QEMU.
	Extra []string
}

func (c *Config) validate() error {
	if (c.Kernel == "") != (c.Initrd == "") {
		return errors.New("qemu: a kernel needs an initramfs, and the reverse")
	}
	if c.Seed != nil && c.Kernel == "" {
		return errors.New("qemu: a seed as an archive needs direct boot; put it on the disk image instead")
	}
	boots := 0
	for _, d := range c.Disks {
		if d.Boot {
			boots++
		}
		if len(d.Serial) > 20 {
			return fmt.Errorf("qemu: disk %s: serial %q is longer than 20 bytes", d, d.Serial)
		}
		if d.File != "" && d.NBD != "" {
			return fmt.Errorf("qemu: disk %s: it is also at the NBD server %s; name one of both", d.File, d.NBD)
		}
	}
	if c.Kernel == "" && boots != 1 {
		return fmt.Errorf("qemu: booting by firmware needs one disk with Boot set, there are %d", boots)
	}
	return nil
}

// places are the files and ports that a run of the machine uses.
type places struct {
	monitor  string // Unix socket
	initrd   string // initramfs with the seed
	firmware string // read-only
	vars     string // the firmware's variables
	forwards map[int]int
}

// arguments returns QEMU's command line, without the program.
func (c *Config) arguments(accel Accelerator, p places) ([]string, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-smp", fmt.Sprint(cmp.Or(c.CPUs, 2)), "-m", fmt.Sprintf("%dM", cmp.Or(c.MemoryMiB, 2048)),
	}
	args = append(args, accel.Arguments()...)
	args = append(args,
		"-qmp", "unix:"+escape(p.monitor)+",server=on,wait=off",
		"-device", "virtio-rng-pci",
	)
	// Signals of the terminal are the launcher's to handle, or the machine's.
	if c.Interactive {
		args = append(args, "-chardev", "stdio,id=console,mux=on,signal=off", "-mon", "chardev=console,mode=readline")
	} else {
		args = append(args, "-chardev", "stdio,id=console,signal=off")
	}
	args = append(args, "-serial", "chardev:console")
	if c.HaltOnReset {
		args = append(args, "-no-reboot")
	}
	if c.Graphics {
		args = append(args, "-device", "VGA,id=screen")
	}
	if c.Kernel != "" {
		args = append(args, "-kernel", c.Kernel, "-initrd", p.initrd, "-append", c.Cmdline)
	} else {
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(p.firmware),
			"-drive", "if=pflash,unit=1,format=raw,file="+escape(p.vars))
	}
	for i, d := range c.Disks {
		a, err := d.arguments(i)
		if err != nil {
			return nil, err
		}
		args = append(args, a...)
	}
	netdev := "user,id=net0"
	if c.Isolated {
		netdev += ",restrict=on"
	}
	for _, port := range c.ports() {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", p.forwards[port], port)
	}
	nic := cmp.Or(c.NIC, "virtio-net-pci")
	// No boot ROM: nothing boots from this network.
	args = append(args, "-netdev", netdev, "-device", nic+",netdev=net0,romfile=")
	return append(args, c.Extra...), nil
}

func (c *Config) ports() []int { return append([]int{APIPort}, c.Forward...) }

func (d Disk) arguments(i int) ([]string, error) {
	id := fmt.Sprintf("disk%d", i)
	place := "file=" + escape(d.File)
	if d.NBD != "" {
		place = "file.driver=nbd,file.server.type=unix,file.server.path=" + escape(d.NBD)
	}
	drive := fmt.Sprintf("if=none,id=%s,format=%s,discard=unmap,%s", id, cmp.Or(d.Format, "raw"), place)
	if d.Discard {
		drive += ",snapshot=on"
	}
	var before []string
	var device string
	serial := d.Serial
	switch d.Bus {
	case Virtio, "":
		device = "virtio-blk-pci,drive=" + id
	case NVMe:
		device = "nvme,drive=" + id
		if serial == "" {
			serial = id // QEMU wants one
		}
	case SATA:
		device = fmt.Sprintf("ide-hd,bus=ide.%d,drive=%s", i, id) // q35's own AHCI, six ports
	case USB:
		before = []string{"-device", "qemu-xhci,id=xhci" + id}
		device = fmt.Sprintf("usb-storage,bus=xhci%s.0,drive=%s", id, id)
	default:
		return nil, fmt.Errorf("qemu: disk %s: unknown bus %q", d, d.Bus)
	}
	if serial != "" {
		device += ",serial=" + escape(serial)
	}
	if d.Boot {
		device += ",bootindex=0"
	}
	return append(append([]string{"-drive", drive}, before...), "-device", device), nil
}

// String names the disk by where it is.
func (d Disk) String() string { return cmp.Or(d.File, d.NBD) }

// escape doubles commas, which separate options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// String names the machine by what it boots.
func (c *Config) String() string {
	if c.Kernel != "" {
		return filepath.Base(c.Kernel) + " with " + filepath.Base(c.Initrd)
	}
	for _, d := range c.Disks {
		if d.Boot {
			return filepath.Base(d.File) + " by UEFI"
		}
	}
	return "nothing"
}
