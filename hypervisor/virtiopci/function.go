package virtiopci

import (
	"encoding/binary"
	"fmt"

	"gozen/hypervisor/pci"
	"gozen/pvdrivers/virtio"
)

// classes are the PCI class codes of device types; others are "other".
var classes = map[virtio.ID]uint32{
	virtio.IDNet:     0x020000, // Ethernet controller
	virtio.IDBlock:   0x010000, // mass storage, SCSI: what block drivers expect of virtio
	virtio.IDConsole: 0x078000, // other communication controller
	virtio.IDVsock:   0x028000, // other network controller
}

const classOther = 0x00ff00 // unclassified

// buildFunction makes the PCI function: identity, BAR and capabilities.
func (t *Transport) buildFunction() error {
	dev := t.cfg.Device
	class, ok := classes[dev.ID()]
	if !ok {
		class = classOther
	}
	id := deviceIDBase + uint16(dev.ID())
	f := pci.NewFunction(dev.Name(), pci.Identity{
		Vendor: vendorID, Device: id, SubVendor: vendorID, SubsystemDevice: id,
		Class: class, Revision: revision,
	})
	if err := f.AddBAR(pci.BAR{Index: barIndex, Size: barSize, Handler: t, Moved: t.moved}); err != nil {
		return err
	}
	var err error
	body, writable := msixCapability(len(t.queues) + 1)
	if t.msixCap, err = f.AddCapability(pci.CapMSIX, body, writable); err != nil {
		return err
	}
	if err := f.OnWrite(t.msixCap+2, 2, t.msixControlWritten); err != nil {
		return err
	}
	for _, c := range []struct {
		kind        uint8
		off, length uint32
		more        []byte
	}{
		{capCommon, commonOff, commonSize, nil},
		{capNotify, notifyOff, uint32(len(t.queues) * notifyMultiplier), binary.LittleEndian.AppendUint32(nil, notifyMultiplier)},
		{capISR, isrOff, isrSize, nil},
		{capDevice, deviceOff, deviceSize, nil},
	} {
		if _, err := f.AddCapability(pci.CapVendor, capability(c.kind, c.off, c.length, c.more), nil); err != nil {
			return err
		}
	}
	if err := t.addWindow(f); err != nil {
		return err
	}
	t.function = f
	return nil
}

// moved follows the BAR. package pci holds its lock.
func (t *Transport) moved(base uint64, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !on {
		base = 0
	}
	t.setDoorbells(base)
}

// capability is the body of struct virtio_pci_cap after cap_next.
func capability(kind uint8, off, length uint32, more []byte) []byte {
	b := []byte{uint8(16 + len(more)), kind, barIndex, 0, 0, 0}
	b = binary.LittleEndian.AppendUint32(b, off)
	b = binary.LittleEndian.AppendUint32(b, length)
	return append(b, more...)
}

// Offsets in struct virtio_pci_cfg_cap.
const (
	windowBAR    = 4
	windowOffset = 8
	windowLength = 12
	windowData   = 16
	windowSize   = 20
)

// addWindow adds the capability through which a driver that cannot map the BAR
// reaches it by configuration space (virtio 1.2, 4.1.4.9).
//
// Reads of configuration space do not leave the guest, so the data register
// cannot be filled when it is read. It is filled when one of the registers that
// choose what it shows is written, which a driver does before every read.
func (t *Transport) addWindow(f *pci.Function) error {
	body := capability(capPCICfg, 0, 0, make([]byte, 4))
	writable := make([]byte, len(body))
	for i := range writable {
		at := i + 2
		if at == windowBAR || at >= windowOffset {
			writable[i] = 0xff
		}
	}
	off, err := f.AddCapability(pci.CapVendor, body, writable)
	if err != nil {
		return err
	}
	return f.OnWrite(off+windowBAR, windowSize-windowBAR, func(config []byte, at, n int) {
		t.windowWritten(config[off:off+windowSize], at+n > off+windowData)
	})
}

// windowWritten carries out an access through the configuration space. package
// pci holds its lock.
func (t *Transport) windowWritten(c []byte, data bool) {
	le := binary.LittleEndian
	off, n := uint64(le.Uint32(c[windowOffset:])), uint64(le.Uint32(c[windowLength:]))
	if c[windowBAR] != barIndex || n != 1 && n != 2 && n != 4 || off%n != 0 || off+n > barSize {
		return
	}
	p := c[windowData : windowData+n]
	if data {
		t.Write(off, p)
	} else {
		var buf [4]byte
		t.Read(off, buf[:n])
		copy(p, buf[:n])
	}
}

// msixCapability is the body of the MSI-X capability and its write mask.
func msixCapability(entries int) (body, writable []byte) {
	le := binary.LittleEndian
	body = le.AppendUint16(nil, uint16(entries-1))
	body = le.AppendUint32(body, tableOff|barIndex)
	body = le.AppendUint32(body, pbaOff|barIndex)
	return body, le.AppendUint16(nil, msixEnable|msixFunctionMask)
}

// wrap names the device in an error that the transport returns. What OnError and
// Err tell is told about the device and does not name it.
func (t *Transport) wrap(err error) error {
	return fmt.Errorf("%s: %w", t.cfg.Device.Name(), err)
}
