package vsock

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
)

// featureSeqPacket offers SOCK_SEQPACKET (virtio 1.2, section 5.10.3).
const featureSeqPacket uint64 = 1 << 1

// Queues (virtio 1.2, section 5.10.2).
const (
	queueReceive  = 0
	queueTransmit = 1
	queueEvent    = 2
	queueCount    = 3
	kernelQueues  = queueEvent // the first ones are the kernel's
)

// queueSizes are the sizes offered. The event queue has one kind of event, which
// comes once in the life of a driver.
var queueSizes = [queueCount]uint16{128, 128, 16}

const configBytes = 8 // guest_cid (virtio 1.2, section 5.10.4)

// MinCID is the smallest CID of a guest: 0 to 2 have other meanings.
const MinCID = 3

// vhostFeatures are the features that vhost-vsock has to know of.
const vhostFeatures = virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1 | featureSeqPacket

// Config describes a socket device.
type Config struct {
	Name string // of the device in the guest: "virtio-vsock0"
	// Vhost is an opened /dev/vhost-vsock without an owner; the Device closes it.
	Vhost *vhost.Device
	CID   uint32 // the guest's address, MinCID and up, unique on the host
}

// Device is a virtio socket device. It implements virtio.Device.
type Device struct {
	name     string
	vhost    *vhost.Device
	cid      uint32
	features uint64
	restored bool // the next activation tells the driver of a transport reset

	mu       sync.Mutex
	active   *session
	ended    virtio.Positions // at the last Reset
	counters counters
}

// counters count since the device was made; guarded by Device.mu.
type counters struct {
	events      uint64 // transport resets told
	kicks, call uint64 // of the event queue, in past activations
	stopErrors  uint64 // errors of vhost on the way to a reset
}

var _ interface {
	virtio.Device
	virtio.Positioner
} = (*Device)(nil)

// New makes a socket device and takes the CID. A CID that another guest of the
// host has is a unix.EADDRINUSE. On an error c.Vhost stays the caller's.
func New(c Config) (*Device, error) {
	if c.CID < MinCID || c.CID == ^uint32(0) {
		return nil, fmt.Errorf("CID %d is reserved: choose one from %d on", c.CID, MinCID)
	}
	if c.Vhost == nil {
		return nil, errors.New("no vhost-vsock: is the module vhost_vsock loaded?")
	}
	have, err := c.Vhost.Features()
	if err != nil {
		return nil, err
	}
	if err := c.Vhost.SetOwner(); err != nil {
		return nil, err
	}
	if err := c.Vhost.SetGuestCID(c.CID); err != nil {
		return nil, err
	}
	return &Device{name: c.Name, vhost: c.Vhost, cid: c.CID, features: have & (vhostFeatures &^ virtio.FeatureVersion1)}, nil
}

// ID implements virtio.Device.
func (d *Device) ID() virtio.ID { return virtio.IDVsock }

// Name implements virtio.Device.
func (d *Device) Name() string { return d.name }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return d.features }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return queueSizes[:] }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, b []byte) {
	var space [configBytes]byte
	binary.LittleEndian.PutUint64(space[:], uint64(d.cid))
	clear(b)
	if off < configBytes {
		copy(b, space[off:])
	}
}

// WriteConfig implements virtio.Device: the CID is not writable.
func (d *Device) WriteConfig(uint32, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a *virtio.Activation) error {
	s, err := newSession(d, a)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.active = s
	d.mu.Unlock()
	return nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	s := d.active
	d.mu.Unlock()
	if s == nil {
		return
	}
	ended, err := s.stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = ended
	d.active = nil
	if err != nil {
		d.counters.stopErrors++
	}
	if s.events != nil {
		d.counters.kicks += s.events.Kicks()
		d.counters.call += s.events.Calls()
	}
}

// Position implements virtio.Positioner.
func (d *Device) Position(queue int) (avail, used uint16) { return d.ended.At(queue) }

// Counters implements virtio.Device. What flows through the sockets is not
// counted: the kernel moves it and keeps no count.
func (d *Device) Counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	kicks, calls := d.counters.kicks, d.counters.call
	if d.active != nil && d.active.events != nil {
		kicks += d.active.events.Kicks()
		calls += d.active.events.Calls()
	}
	return map[string]uint64{
		"transport_resets": d.counters.events,
		"stop_errors":      d.counters.stopErrors,
		"event_kicks":      kicks,
		"event_interrupts": calls,
	}
}

// stateVersion is the version of state.
const stateVersion = 1

// state is a saved socket device. Connections are not saved: a restored guest is
// told that they are gone.
type state struct {
	Version int `json:"version"`
}

// Save implements virtio.Device.
func (d *Device) Save() (json.RawMessage, error) {
	return json.Marshal(state{stateVersion})
}

// Restore implements virtio.Device. The CID may be another than the saved one:
// the driver reads it anew after a transport reset (virtio 1.2, section
// 5.10.6.7).
func (d *Device) Restore(raw json.RawMessage) error {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("saved state: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("saved state has version %d, want %d", s.Version, stateVersion)
	}
	d.restored = true
	return nil
}

// Close implements virtio.Device.
func (d *Device) Close() error {
	return d.vhost.Close()
}
