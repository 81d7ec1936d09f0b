package work

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// device is a virtio device in use by the kernel, with its registers mapped.
type device struct {
	name     string
	mapped   [][]byte
	selector *byte // device_feature_select or DeviceFeaturesSel, 32 bits; nil if it has none
	doorbell *byte // where a queue's number rings; nil if port is set
	wide     bool  // the doorbell takes 32 bits, not 16
	port     uint16
}

// Virtio device types (virtio 1.2, 5), those first whose doorbell does least.
var deviceTypes = []uint32{4 /* entropy */, 2 /* block */, 1 /* network */}

// findDevice returns the device of the most harmless type, by PCI or by MMIO. The
// device is usable, for nothing, even with an error.
func findDevice() (*device, error) {
	var errs []error
	for _, t := range deviceTypes {
		for _, find := range []func(uint32) (*device, error){findPCI, findMMIO} {
			d, err := find(t)
			if d != nil {
				return d, nil
			}
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &device{}, err
	}
	return &device{}, errors.New("no virtio device, by PCI or by MMIO")
}

// checkRegister says why exit.mmio cannot be measured, nil if it can.
func (d *device) checkRegister() error {
	if d.selector == nil && d.port != 0 {
		return fmt.Errorf("%s is a device of before virtio 1.0: its registers are ports", d.name)
	}
	return nil
}

// selectFeatures writes n times to the register that selects feature bits.
func (d *device) selectFeatures(n int) error {
	for range n {
		store32(d.selector, 0)
	}
	return nil
}

// ring rings the doorbell of queue 0 n times.
func (d *device) ring(n int) error {
	for range n {
		switch {
		case d.port != 0:
			outw(d.port, 0)
		case d.wide:
			store32(d.doorbell, 0)
		default:
			store16(d.doorbell, 0)
		}
	}
	return nil
}

func (d *device) close() {
	for _, m := range d.mapped {
		_ = unix.Munmap(m) // it was mapped: this cannot fail
	}
	d.mapped = nil
}

// mapFile maps registers: of a file the part that holds those from offset on. It
// returns them from offset on.
func (d *device) mapFile(file string, offset uint64, size int) ([]byte, error) {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_SYNC|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	defer unix.Close(fd)
	first := offset % pageSize
	b, err := unix.Mmap(fd, int64(offset-first), int(first)+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s at %#x: %w", file, offset, err)
	}
	d.mapped = append(d.mapped, b)
	return b[first:], nil
}

const (
	pciDevices  = "/sys/bus/pci/devices/*"
	virtioVend  = 0x1af4
	modernFirst = 0x1040 // device ID of type 0 (virtio 1.2, 4.1.2)

	// Offsets in the common configuration (virtio 1.2, 4.1.4.3).
	commonFeatureSelect = 0
	commonQueueSelect   = 22
	commonNotifyOff     = 30
	commonSize          = 56

	// Offset in the registers of before 1.0 (virtio 1.2, 4.1.4.8).
	legacyNotify = 16
)

// legacyIDs are the PCI device IDs of devices that are also of before 1.0.
var legacyIDs = map[uint32]uint16{1: 0x1000, 2: 0x1001, 4: 0x1005}

// findPCI returns the first PCI device of that type, nil if there is none.
func findPCI(deviceType uint32) (*device, error) {
	dirs, err := filepath.Glob(pciDevices)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		config, err := os.ReadFile(dir + "/config")
		if err != nil {
			return nil, err
		}
		if len(config) < 64 || binary.LittleEndian.Uint16(config) != virtioVend {
			continue
		}
		id := binary.LittleEndian.Uint16(config[2:])
		if id != modernFirst+uint16(deviceType) && id != legacyIDs[deviceType] {
			continue
		}
		d := &device{name: filepath.Base(dir)}
		if err := d.openPCI(dir, config); err != nil {
			d.close()
			return nil, fmt.Errorf("virtio device %s: %w", d.name, err)
		}
		return d, nil
	}
	return nil, nil
}

func (d *device) openPCI(dir string, config []byte) error {
	common, notify, err := capabilities(config)
	if err != nil {
		return err
	}
	if common == nil || notify == nil {
		return d.openLegacy(dir)
	}
	resource := func(c *capability) string { return dir + "/resource" + strconv.Itoa(int(c.bar)) }
	registers, err := d.mapFile(resource(common), uint64(common.offset), commonSize)
	if err != nil {
		return err
	}
	store16(&registers[commonQueueSelect], 0)
	at := uint64(notify.offset) + uint64(load16(&registers[commonNotifyOff]))*uint64(notify.multiplier)
	bell, err := d.mapFile(resource(notify), at, 4)
	if err != nil {
		return err
	}
	d.selector, d.doorbell = &registers[commonFeatureSelect], &bell[0]
	return nil
}

// openLegacy takes the doorbell of a device whose registers are in the ports of
// its first BAR.
func (d *device) openLegacy(dir string) error {
	text, err := os.ReadFile(dir + "/resource")
	if err != nil {
		return err
	}
	var start, end, flags uint64
	if _, err := fmt.Sscan(string(text), &start, &end, &flags); err != nil {
		return fmt.Errorf("its resources %q: %w", text, err)
	}
	const isPorts = 0x100 // IORESOURCE_IO, linux/ioport.h
	if flags&isPorts == 0 || start == 0 || start+legacyNotify+1 > 0xffff {
		return errors.New("it has no common configuration and no ports")
	}
	if err := allowPorts(int(start+legacyNotify), 2); err != nil {
		return err
	}
	d.port = uint16(start + legacyNotify)
	return nil
}

// capability is a virtio structure in a BAR (virtio 1.2, 4.1.4).
type capability struct {
	bar        uint8
	offset     uint32
	multiplier uint32 // of a notification structure (4.1.4.4)
}

// capabilities finds the common configuration and the notification structure in a
// device's configuration space: nil where there is none.
func capabilities(config []byte) (common, notify *capability, err error) {
	const (
		pointer    = 0x34 // PCI 3.0, 6.7
		vendorCap  = 0x09
		size       = 16 // struct virtio_pci_cap
		typeCommon = 1
		typeNotify = 2
	)
	if len(config) < 64 {
		return nil, nil, fmt.Errorf("configuration space of %d bytes", len(config))
	}
	if len(config) == 64 {
		return nil, nil, errors.New("the kernel shows its capabilities only to root")
	}
	at := int(config[pointer]) &^ 3
	// A list that is longer than the space has a loop.
	for range 64 {
		if at == 0 {
			return common, notify, nil
		}
		if at+size > len(config) {
			return nil, nil, fmt.Errorf("a capability at %#x ends beyond the configuration space", at)
		}
		c := config[at:]
		if c[0] == vendorCap {
			found := &capability{bar: c[4], offset: binary.LittleEndian.Uint32(c[8:])}
			if found.bar > 5 && (c[3] == typeCommon || c[3] == typeNotify) {
				return nil, nil, fmt.Errorf("a structure is in BAR %d", found.bar)
			}
			switch c[3] {
			case typeCommon:
				if common == nil {
					common = found
				}
			case typeNotify:
				if at+size+4 > len(config) {
					return nil, nil, errors.New("the notification structure ends beyond the configuration space")
				}
				if notify == nil {
					found.multiplier = binary.LittleEndian.Uint32(c[size:])
					notify = found
				}
			}
		}
		at = int(c[1]) &^ 3
	}
	return nil, nil, errors.New("its list of capabilities does not end")
}

const (
	// Offsets of registers (virtio 1.2, 4.2.2).
	mmioMagic       = 0x00
	mmioDeviceID    = 0x08
	mmioFeaturesSel = 0x14
	mmioQueueNotify = 0x50
	mmioSize        = 0x100

	mmioMagicValue = 0x74726976 // "virt"
)

// findMMIO returns the first MMIO device of that type, nil if there is none.
func findMMIO(deviceType uint32) (*device, error) {
	text, err := os.ReadFile("/proc/iomem")
	if err != nil {
		return nil, err
	}
	for _, address := range mmioAddresses(string(text)) {
		d := &device{name: fmt.Sprintf("at %#x", address)}
		registers, err := d.mapFile("/dev/mem", address, mmioSize)
		if err != nil {
			return nil, fmt.Errorf("virtio device %s: %w", d.name, err)
		}
		if load32(&registers[mmioMagic]) == mmioMagicValue && load32(&registers[mmioDeviceID]) == deviceType {
			d.selector, d.doorbell, d.wide = &registers[mmioFeaturesSel], &registers[mmioQueueNotify], true
			return d, nil
		}
		d.close()
	}
	return nil, nil
}

// mmioAddresses finds virtio devices in the text of /proc/iomem. They are named by
// the ACPI identifier that QEMU gave them, or by the driver when they came by the
// kernel's command line.
func mmioAddresses(iomem string) []uint64 {
	var out []uint64
	for line := range strings.Lines(iomem) {
		reach, name, _ := strings.Cut(strings.TrimSpace(line), " : ")
		if !strings.HasPrefix(name, "LNRO0005:") && !strings.HasPrefix(name, "virtio-mmio") {
			continue
		}
		first, _, _ := strings.Cut(reach, "-")
		address, err := strconv.ParseUint(first, 16, 64)
		// Zero is what those who are not root see. A device and its driver each have a line.
		if err != nil || address == 0 || len(out) > 0 && out[len(out)-1] == address {
			continue
		}
		out = append(out, address)
	}
	return out
}
