package block

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

// DefaultWorkers is how many requests of a disk are served at once unless
// Config says otherwise.
const DefaultWorkers = 16

// Config describes a disk.
type Config struct {
	Name     string // of the device in the guest: "virtio-blk0"
	FD       int    // regular file or block device; the Device closes it
	ReadOnly bool   // FD may then be opened O_RDONLY
	Serial   string // what the guest reads as the disk's serial number, at most 20 bytes
	Workers  int    // requests served at once; DefaultWorkers when 0
	Queues   int    // 1 when 0
}

// Device is a virtio block device. It implements virtio.Device.
type Device struct {
	name     string
	disk     *disk
	readOnly bool
	serial   [idBytes]byte
	workers  int
	queues   int
	config   []byte
	counters counters

	mu     sync.Mutex       // guards active against Counters
	active *session         // nil while not active
	ended  virtio.Positions // at the last Reset
}

var _ interface {
	virtio.Device
	virtio.Positioner
} = (*Device)(nil)

// New opens a disk on c.FD. On an error the descriptor stays the caller's.
func New(c Config) (*Device, error) {
	if len(c.Serial) > idBytes {
		return nil, fmt.Errorf("serial number %q has more than %d bytes", c.Serial, idBytes)
	}
	if c.Queues < 0 || c.Workers < 0 {
		return nil, fmt.Errorf("%d queues, %d workers: want at least one of each", c.Queues, c.Workers)
	}
	d := &Device{
		name:     c.Name,
		readOnly: c.ReadOnly,
		workers:  c.Workers,
		queues:   max(c.Queues, 1),
	}
	if d.workers == 0 {
		d.workers = DefaultWorkers
	}
	copy(d.serial[:], c.Serial)
	var err error
	if d.disk, err = openDisk(c.FD, c.ReadOnly, &d.counters); err != nil {
		return nil, err
	}
	d.config, err = binary.Append(nil, binary.LittleEndian, d.configSpace())
	if err != nil || len(d.config) != configBytes {
		return nil, fmt.Errorf("encode %d bytes of configuration: %w", len(d.config), err)
	}
	return d, nil
}

func (d *Device) configSpace() configSpace {
	physical := uint8(0)
	for b := d.disk.logical; b < d.disk.physical; b *= 2 {
		physical++
	}
	c := configSpace{
		Capacity:         d.disk.sectors,
		SegMax:           maxSegments,
		BlkSize:          d.disk.logical,
		PhysicalBlockExp: physical,
		MinIOSize:        uint16(d.disk.physical / d.disk.logical),
		NumQueues:        uint16(d.queues),
	}
	if !d.readOnly {
		c.MaxDiscardSectors, c.MaxDiscardSeg = maxRangeSectors, maxRanges
		c.DiscardSectorAlignment = rangeAlignment
		c.MaxWriteZeroesSectors, c.MaxWriteZeroesSeg = maxRangeSectors, maxRanges
		c.WriteZeroesMayUnmap = 1
	}
	return c
}

// ID implements virtio.Device.
func (d *Device) ID() virtio.ID { return virtio.IDBlock }

// Name implements virtio.Device.
func (d *Device) Name() string { return d.name }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	f := virtio.FeatureIndirectDesc | virtio.FeatureEventIdx |
		featureSegMax | featureBlkSize | featureFlush | featureTopology
	if d.readOnly {
		f |= featureReadOnly
	} else {
		f |= featureDiscard | featureWriteZeroes
	}
	if d.queues > 1 {
		f |= featureMQ
	}
	return f
}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, d.queues)
	for i := range sizes {
		sizes[i] = queueSize
	}
	return sizes
}

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, b []byte) {
	clear(b)
	if uint64(off) < uint64(len(d.config)) {
		copy(b, d.config[off:])
	}
}

// WriteConfig implements virtio.Device: nothing in the space is writable, as
// VIRTIO_BLK_F_CONFIG_WCE is not offered.
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
	s.start()
	return nil
}

// Reset implements virtio.Device: it returns when the last request under way is
// done, because the host's kernel writes to guest memory until then.
func (d *Device) Reset() {
	d.mu.Lock()
	s := d.active
	d.mu.Unlock()
	if s == nil {
		return
	}
	s.stop()
	d.ended = virtqueue.Positions(s.queues()...)
	d.mu.Lock()
	d.active = nil
	d.counters.retire(s)
	d.mu.Unlock()
}

// Position implements virtio.Positioner.
func (d *Device) Position(queue int) (avail, used uint16) { return d.ended.At(queue) }

// Counters implements virtio.Device.
func (d *Device) Counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counters.snapshot(d.active)
}

// stateVersion is the version of state.
const stateVersion = 1

// state is a saved disk. Its contents are not part of it: whoever saves a guest
// saves the volume.
type state struct {
	Version int    `json:"version"`
	Sectors uint64 `json:"sectors"`
}

// Save implements virtio.Device.
func (d *Device) Save() (json.RawMessage, error) {
	return json.Marshal(state{Version: stateVersion, Sectors: d.disk.sectors})
}

// Restore implements virtio.Device. A disk of another size than the saved one is
// refused.
func (d *Device) Restore(raw json.RawMessage) error {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("saved state: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("saved state has version %d, want %d", s.Version, stateVersion)
	}
	if s.Sectors != d.disk.sectors {
		return fmt.Errorf("saved with %d sectors, the disk now has %d: restore it with the volume it was saved with",
			s.Sectors, d.disk.sectors)
	}
	return nil
}

// Close implements virtio.Device.
func (d *Device) Close() error {
	return d.disk.close()
}
