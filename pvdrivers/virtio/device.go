package virtio

import (
	"encoding/json"

	"gozen/pvdrivers/guestmem"
)

// ID is a virtio device type (virtio 1.2, section 5).
type ID uint16

// Device types in use.
const (
	IDNet     ID = 1
	IDBlock   ID = 2
	IDConsole ID = 3
	IDEntropy ID = 4
	IDVsock   ID = 19
)

// Feature bits that do not belong to one device type (virtio 1.2, section 6).
const (
	FeatureIndirectDesc uint64 = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx     uint64 = 1 << 29 // VIRTIO_F_EVENT_IDX
	FeatureVersion1     uint64 = 1 << 32 // VIRTIO_F_VERSION_1
	FeatureAccessPlat   uint64 = 1 << 33 // VIRTIO_F_ACCESS_PLATFORM
	FeatureRingReset    uint64 = 1 << 40 // VIRTIO_F_RING_RESET
)

// Device is the host's half of a paravirtual device.
//
// The transport serializes all calls to one Device. ReadConfig, WriteConfig,
// Activate and Reset run on a vCPU thread and must not wait for the guest.
//
// Errors, those given to Activation.Fail too, do not name the device: whoever
// passes them on to somebody who does not know which one it is puts Name before.
type Device interface {
	// ID is the device type.
	ID() ID
	// Name is unique within the guest: "virtio-blk0".
	Name() string
	// Features returns the bits offered to the driver. FeatureVersion1 is added by
	// the transport.
	Features() uint64
	// QueueSizes returns the largest size of each queue, powers of two.
	QueueSizes() []uint16
	// ReadConfig fills b from the device configuration space at off. Bytes past
	// the end of the space read as zero.
	ReadConfig(off uint32, b []byte)
	// WriteConfig writes b to the device configuration space at off. Writes to
	// read-only fields are ignored.
	WriteConfig(off uint32, b []byte)
	// Activate starts the device: the driver set DRIVER_OK. An error puts the
	// device in error.
	Activate(a *Activation) error
	// Reset stops all data flow before it returns, so that the guest may take its
	// memory back, and makes the device ready for another Activate. It does nothing
	// on a device that is not active.
	Reset()
	// Counters returns a copy of the device's counters.
	Counters() map[string]uint64
	// Save returns the state that a new Device of the same configuration needs to
	// go on where this one is, without what Activation carries. The device is not
	// active, or has been stopped with Reset, when it is called.
	Save() (json.RawMessage, error)
	// Restore takes what Save returned, before Activate.
	Restore(json.RawMessage) error
	// Close releases the device's descriptors, after Reset.
	Close() error
}

// Activation is what driver and transport agreed upon.
type Activation struct {
	Memory   *guestmem.Memory
	Features uint64 // accepted by the driver
	Queues   []Queue
	// Fail puts the device in error: DEVICE_NEEDS_RESET is set and the driver gets
	// a configuration interrupt. Safe from any goroutine; only the first call until
	// the next Activate counts. It does not call back into the device.
	Fail func(error)
	// ConfigChanged tells the driver that configuration space changed.
	ConfigChanged func()
}

// Queue is one virtqueue as the driver set it up. A queue the driver did not
// enable has Size 0.
type Queue struct {
	Size   uint16
	Desc   uint64 // guest-physical address of the descriptor table
	Driver uint64 // of the available ring
	Device uint64 // of the used ring
	// Next available and used index to go on from; 0 on a fresh start.
	NextAvail, NextUsed uint16
	// KickFD is a nonblocking eventfd that the guest's notification signals.
	// It belongs to the transport and stays open until after Reset.
	KickFD int
	// CallFD is a nonblocking eventfd whose signal interrupts the guest. Same
	// ownership.
	CallFD int
}
