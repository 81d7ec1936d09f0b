package console

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

// Feature bits (virtio 1.2, section 5.3.3).
const featureSize uint64 = 1 << 0

// Queues (virtio 1.2, section 5.3.2).
const (
	queueReceive  = 0 // to the guest
	queueTransmit = 1 // from the guest
	queueCount    = 2
	queueSize     = 64
)

// configBytes is the size of the configuration space: columns and rows, 16 bits
// each, the number of ports (without multiport: 0) and the emergency write
// register (not offered), 32 bits each (virtio 1.2, section 5.3.4).
const configBytes = 12

// Sink takes the guest's output. Write is called by one goroutine at a time with
// at most 4096 bytes, which it may not keep. It should not wait: the guest's
// output stands still meanwhile, and so does a reset of the device.
type Sink interface {
	Write(p []byte) (int, error)
}

// Config describes a console.
type Config struct {
	Name          string // of the device in the guest: "virtio-console0"
	Output        Sink
	Columns, Rows uint16 // of the terminal; 0 when unknown
}

// Device is a virtio console. It implements virtio.Device. WriteInput and Resize
// are safe from any goroutine.
type Device struct {
	name     string
	sink     Sink
	in       *input
	counters counters

	mu            sync.Mutex
	columns, rows uint16
	active        *session
	ended         virtio.Positions // at the last Reset
}

var _ interface {
	virtio.Device
	virtio.Positioner
} = (*Device)(nil)

// New makes a console.
func New(c Config) (*Device, error) {
	if c.Output == nil {
		return nil, errors.New("no sink for its output")
	}
	return &Device{name: c.Name, sink: c.Output, in: newInput(), columns: c.Columns, rows: c.Rows}, nil
}

// WriteInput gives p to the guest as typed input. It waits while the queue of
// InputCapacity bytes is full and returns early, with the number of bytes taken,
// when ctx ends or the device is closed (ErrClosed).
func (d *Device) WriteInput(ctx context.Context, p []byte) (int, error) {
	return d.in.write(ctx, p)
}

// Resize tells the guest the size of the terminal in characters.
func (d *Device) Resize(columns, rows uint16) {
	d.mu.Lock()
	same := d.columns == columns && d.rows == rows
	d.columns, d.rows = columns, rows
	s := d.active
	d.mu.Unlock()
	// Without the lock: the transport may be in ReadConfig with its own held.
	if !same && s != nil && s.sized {
		s.configChanged()
	}
}

// ID implements virtio.Device.
func (d *Device) ID() virtio.ID { return virtio.IDConsole }

// Name implements virtio.Device.
func (d *Device) Name() string { return d.name }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	return virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | featureSize
}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize} }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, b []byte) {
	var space [configBytes]byte
	d.mu.Lock()
	binary.LittleEndian.PutUint16(space[0:], d.columns)
	binary.LittleEndian.PutUint16(space[2:], d.rows)
	d.mu.Unlock()
	clear(b)
	if off < configBytes {
		copy(b, space[off:])
	}
}

// WriteConfig implements virtio.Device: nothing in the space is writable, as
// VIRTIO_CONSOLE_F_EMERG_WRITE is not offered.
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

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	s := d.active
	d.active = nil
	d.mu.Unlock()
	if s == nil {
		return
	}
	s.stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = virtqueue.Positions(s.queues[:]...)
	kicks, calls := virtqueue.Notifications(s.queues[:]...)
	d.counters.kicks += kicks
	d.counters.calls += calls
}

// Position implements virtio.Positioner.
func (d *Device) Position(queue int) (avail, used uint16) { return d.ended.At(queue) }

// stateVersion is the version of state.
const stateVersion = 1

// state is a saved console.
type state struct {
	Version int    `json:"version"`
	Columns uint16 `json:"columns"`
	Rows    uint16 `json:"rows"`
	Input   []byte `json:"input,omitempty"` // not yet taken by the guest
}

// Save implements virtio.Device.
func (d *Device) Save() (json.RawMessage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return json.Marshal(state{stateVersion, d.columns, d.rows, d.in.queued()})
}

// Restore implements virtio.Device.
func (d *Device) Restore(raw json.RawMessage) error {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("saved state: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("saved state has version %d, want %d", s.Version, stateVersion)
	}
	if len(s.Input) > InputCapacity {
		return fmt.Errorf("saved state has %d bytes of input, at most %d fit", len(s.Input), InputCapacity)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.columns, d.rows = s.Columns, s.Rows
	d.in.set(s.Input)
	return nil
}

// Close implements virtio.Device. It ends every WriteInput under way.
func (d *Device) Close() error {
	d.in.close()
	return nil
}
