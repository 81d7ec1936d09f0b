package net

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
)

// Config describes a network device.
type Config struct {
	Name string // of the device in the guest: "virtio-net0"
	// Tap is a tap made with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR; the Device closes
	// it.
	Tap int
	// Vhost is an opened /dev/vhost-net without an owner; the Device closes it. With
	// nil, frames are moved by this package.
	Vhost *vhost.Device
	MAC   net.HardwareAddr // 6 bytes, unicast
	MTU   uint16           // told to the guest, at least 68; 0 leaves it to the guest
}

// minMTU is the smallest MTU of IPv4 (RFC 791), which the specification also
// asks for.
const minMTU = 68

// Device is a virtio network device. It implements virtio.Device.
type Device struct {
	name     string
	tap      int
	vhost    *vhost.Device
	features uint64
	mac      [6]byte
	mtu      uint16
	config   [configBytes]byte
	counters counters

	mu     sync.Mutex
	active path             // nil while not active
	ended  virtio.Positions // at the last Reset
}

// path moves the frames of one activation.
type path interface {
	start() error
	// stop returns when neither the kernel nor a goroutine uses guest memory for the
	// device any more. It is called once, also after an error of start.
	stop() (virtio.Positions, error)
	// notifications returns the kicks and interrupts so far, where they are known.
	notifications() (kicks, calls uint64)
}

var _ interface {
	virtio.Device
	virtio.Positioner
} = (*Device)(nil)

// New makes a network device. On an error the descriptors stay the caller's.
func New(c Config) (*Device, error) {
	d := &Device{name: c.Name, tap: c.Tap, vhost: c.Vhost, mtu: c.MTU}
	if copy(d.mac[:], c.MAC) != len(c.MAC) || len(c.MAC) != len(d.mac) || d.mac[0]&1 != 0 {
		return nil, fmt.Errorf("MAC address %v is not a unicast address of 6 bytes", c.MAC)
	}
	if c.MTU != 0 && c.MTU < minMTU {
		return nil, fmt.Errorf("MTU %d is less than %d", c.MTU, minMTU)
	}
	if err := setUpTap(c.Tap); err != nil {
		return nil, err
	}
	d.features = virtio.FeatureIndirectDesc | virtio.FeatureEventIdx |
		featureCsum | featureGuestCsum | featureMAC | featureStatus | featureMrgRxbuf |
		featureGuestTSO4 | featureGuestTSO6 | featureHostTSO4 | featureHostTSO6
	if c.MTU != 0 {
		d.features |= featureMTU
	}
	if c.Vhost != nil {
		have, err := c.Vhost.Features()
		if err != nil {
			return nil, err
		}
		d.features &= have | ^uint64(vhostFeatures)
		if err := c.Vhost.SetOwner(); err != nil {
			return nil, err
		}
	}
	copy(d.config[configMAC:], d.mac[:])
	binary.LittleEndian.PutUint16(d.config[configStatus:], statusLinkUp)
	binary.LittleEndian.PutUint16(d.config[configMaxPairs:], 1)
	binary.LittleEndian.PutUint16(d.config[configMTU:], c.MTU)
	return d, nil
}

// ID implements virtio.Device.
func (d *Device) ID() virtio.ID { return virtio.IDNet }

// Name implements virtio.Device.
func (d *Device) Name() string { return d.name }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return d.features }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize} }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, b []byte) {
	clear(b)
	if off < configBytes {
		copy(b, d.config[off:])
	}
}

// WriteConfig implements virtio.Device: nothing in the space is writable.
func (d *Device) WriteConfig(uint32, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a *virtio.Activation) error {
	p, err := d.activate(a)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.active = p
	d.mu.Unlock()
	return nil
}

func (d *Device) activate(a *virtio.Activation) (path, error) {
	if len(a.Queues) > queueCount {
		return nil, fmt.Errorf("%d queues, %d were offered", len(a.Queues), queueCount)
	}
	for i, q := range a.Queues {
		if q.Size > queueSize {
			return nil, fmt.Errorf("queue %d of size %d, %d was offered", i, q.Size, queueSize)
		}
	}
	if err := setOffloads(d.tap, a.Features); err != nil {
		return nil, err
	}
	var p path
	var err error
	if d.vhost != nil {
		p, err = newKernelPath(d, a)
	} else {
		p, err = newUserPath(d, a)
	}
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		_, stopErr := p.stop()
		return nil, errors.Join(err, stopErr)
	}
	return p, nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	p := d.active
	d.mu.Unlock()
	if p == nil {
		return
	}
	ended, err := p.stop()
	// The next driver may take less. What the tap makes until then must suit it.
	if err = errors.Join(err, setOffloads(d.tap, 0)); err != nil {
		d.counters.stopErrors.Add(1)
	}
	kicks, calls := p.notifications()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = ended
	d.active = nil
	d.counters.kicks += kicks
	d.counters.calls += calls
}

// Position implements virtio.Positioner.
func (d *Device) Position(queue int) (avail, used uint16) { return d.ended.At(queue) }

// stateVersion is the version of state.
const stateVersion = 1

// state is a saved network device: only what tells that it is the same one.
type state struct {
	Version int    `json:"version"`
	MAC     string `json:"mac"`
	MTU     uint16 `json:"mtu,omitempty"`
}

// Save implements virtio.Device.
func (d *Device) Save() (json.RawMessage, error) {
	return json.Marshal(state{stateVersion, net.HardwareAddr(d.mac[:]).String(), d.mtu})
}

// Restore implements virtio.Device. The guest's driver read address and MTU when
// it started, so a device with others is refused.
func (d *Device) Restore(raw json.RawMessage) error {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("saved state: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("saved state has version %d, want %d", s.Version, stateVersion)
	}
	if mac := net.HardwareAddr(d.mac[:]).String(); s.MAC != mac || s.MTU != d.mtu {
		return fmt.Errorf("saved with MAC %s and MTU %d, but configured with %s and %d", s.MAC, s.MTU, mac, d.mtu)
	}
	return nil
}

// Close implements virtio.Device.
func (d *Device) Close() error {
	var errs []error
	if d.vhost != nil {
		errs = append(errs, d.vhost.Close())
	}
	if err := unix.Close(d.tap); err != nil {
		errs = append(errs, fmt.Errorf("close tap: %w", err))
	}
	return errors.Join(errs...)
}
