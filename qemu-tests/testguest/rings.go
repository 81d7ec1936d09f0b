package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Offsets in the common configuration (virtio 1.2, 4.1.4.3).
const (
	driverFeatureSelect = 0x08
	driverFeature       = 0x0c
	deviceStatus        = 0x14
	queueSelect         = 0x16
	queueSize           = 0x18
	queueEnable         = 0x1c
	queueNotifyOff      = 0x1e
	queueDesc           = 0x20
	queueDriver         = 0x28
	queueDevice         = 0x30
)

// Device status bits (virtio 1.2, 2.1).
const (
	acknowledge = 1
	driver      = 2
	driverOK    = 4
	featuresOK  = 8
	needsReset  = 64
)

// A bar is what user space needs to drive a virtio-pci device.
type bar struct {
	mem                 []byte
	common, notify      uint32
	notifyOffMultiplier uint32
}

// openDevice takes the device from its driver and maps its registers.
func openDevice(address string) (*bar, error) {
	dir := filepath.Join("/sys/bus/pci/devices", address)
	config, err := os.ReadFile(dir + "/config")
	if err != nil {
		return nil, err
	}
	if virtio, _ := filepath.Glob(dir + "/virtio*"); len(virtio) > 0 {
		// The driver is unbound from the PCI device, which removes the virtio one.
		_ = os.WriteFile(dir+"/driver/unbind", []byte(address), 0)
	}
	if err := os.WriteFile(dir+"/enable", []byte("1"), 0); err != nil && !errors.Is(err, unix.EBUSY) {
		fmt.Println("enable:", err)
	}
	b := &bar{}
	for at := int(config[0x34]); at != 0 && at+20 <= len(config); at = int(config[at+1]) {
		if config[at] != 9 { // vendor-specific
			continue
		}
		if config[at+4] != 0 {
			return nil, errors.New("registers are not in BAR 0")
		}
		off := binary.LittleEndian.Uint32(config[at+8:])
		switch config[at+3] {
		case 1:
			b.common = off
		case 2:
			b.notify = off
			b.notifyOffMultiplier = binary.LittleEndian.Uint32(config[at+16:])
		}
	}
	f, err := os.OpenFile(dir+"/resource0", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b.mem, err = unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return b, err
}

// physical locks a page of this program and returns it with its guest-physical
// address.
func physical() ([]byte, uint64, error) {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE|unix.MAP_LOCKED)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	var entry [8]byte
	if _, err := f.ReadAt(entry[:], int64(address(page)/4096*8)); err != nil {
		return nil, 0, err
	}
	e := binary.LittleEndian.Uint64(entry[:])
	if e>>63 == 0 {
		return nil, 0, errors.New("the page is not present")
	}
	return page, (e & (1<<55 - 1)) * 4096, nil
}

// rings plays a driver that lies: it sets the device's first queue up with rings
// that no honest driver makes, and rings the doorbell.
func rings(args []string) error {
	b, err := openDevice(args[0])
	if err != nil {
		return err
	}
	page, phys, err := physical()
	if err != nil {
		return err
	}
	// Descriptor table at 0, available ring at 0x800, used ring at 0xc00.
	desc, avail, used := phys, phys+0x800, phys+0xc00
	le := binary.LittleEndian
	describe := func(i int, addr uint64, length uint32, flags, next uint16) {
		d := page[i*16:]
		le.PutUint64(d, addr)
		le.PutUint32(d[8:], length)
		le.PutUint16(d[12:], flags)
		le.PutUint16(d[14:], next)
	}
	index := uint16(1)
	switch args[1] {
	case "far": // a buffer far outside guest memory
		describe(0, 1<<50, 4096, 1, 1)
		describe(1, 1<<50, 4096, 2, 0)
	case "loop": // a chain that never ends
		describe(0, phys, 16, 1, 1)
		describe(1, phys, 16, 1, 0)
	case "index": // more available entries than the ring has
		index = 40000
	case "huge": // a length that overflows the address
		describe(0, ^uint64(0)-100, ^uint32(0), 1, 1)
		describe(1, phys, ^uint32(0), 2, 0)
	case "table": // rings outside guest memory
		desc, avail, used = 1<<50, 1<<50+0x800, 1<<50+0xc00
	default:
		return fmt.Errorf("no way to lie called %q", args[1])
	}
	le.PutUint16(page[0x802:], index)

	c := b.common
	b.set8(c+deviceStatus, 0)
	for b.get8(c+deviceStatus) != 0 {
	}
	b.set8(c+deviceStatus, acknowledge|driver)
	b.set32(c+driverFeatureSelect, 0)
	b.set32(c+driverFeature, 0)
	b.set32(c+driverFeatureSelect, 1)
	b.set32(c+driverFeature, 1) // VIRTIO_F_VERSION_1
	b.set8(c+deviceStatus, acknowledge|driver|featuresOK)
	b.set16(c+queueSelect, 0)
	b.set16(c+queueSize, 8)
	for _, r := range []struct {
		at   uint32
		addr uint64
	}{{queueDesc, desc}, {queueDriver, avail}, {queueDevice, used}} {
		b.set32(c+r.at, uint32(r.addr))
		b.set32(c+r.at+4, uint32(r.addr>>32))
	}
	b.set16(c+queueEnable, 1)
	off := uint32(b.get16(c + queueNotifyOff))
	b.set8(c+deviceStatus, acknowledge|driver|featuresOK|driverOK)
	b.set16(b.notify+off*b.notifyOffMultiplier, 0)
	return nil
}

// probe prints whether the device asked for a reset.
func probe(args []string) error {
	b, err := openDevice(args[0])
	if err != nil {
		return err
	}
	status := b.get8(b.common + deviceStatus)
	fmt.Printf("status %#x needs-reset %v\n", status, status&needsReset != 0)
	return nil
}
