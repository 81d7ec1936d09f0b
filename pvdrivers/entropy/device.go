package entropy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

// MaxRequest is the most bytes one buffer is given.
const MaxRequest = 4096

const queueSize = 64

var errNotWritable = errors.New("entropy request has no writable part")

// Clock is the time that the rate is measured by.
type Clock interface {
	Now() time.Time
	// After returns a channel that receives once d has passed.
	After(d time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Config describes an entropy device.
type Config struct {
	Name           string // of the device in the guest: "virtio-rng0"
	Source         int    // descriptor of /dev/urandom; the Device closes it
	BytesPerSecond uint64 // at least 1
	Clock          Clock  // the system's monotonic clock when nil
}

// Device is a virtio entropy device. It implements virtio.Device.
type Device struct {
	name   string
	source int
	clock  Clock

	requests, bytes, throttled, errors atomic.Uint64

	// bucket outlives a reset: resetting the device must not earn tokens. It is
	// used by the session's goroutine, and by Save and Restore when there is none.
	bucket *bucket

	mu           sync.Mutex
	active       *session
	ended        virtio.Positions // at the last Reset
	kicks, calls uint64           // of past activations
}

var _ interface {
	virtio.Device
	virtio.Positioner
} = (*Device)(nil)

// New makes an entropy device. On an error the descriptor stays the caller's.
func New(c Config) (*Device, error) {
	if c.BytesPerSecond == 0 {
		return nil, errors.New("a rate of 0 bytes a second would never answer; want at least 1")
	}
	if _, err := unix.FcntlInt(uintptr(c.Source), unix.F_GETFL, 0); err != nil {
		return nil, fmt.Errorf("source descriptor %d: %w", c.Source, err)
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	return &Device{
		name:   c.Name,
		source: c.Source,
		clock:  c.Clock,
		bucket: newBucket(c.BytesPerSecond, c.BytesPerSecond, c.Clock.Now()),
	}, nil
}

// ID implements virtio.Device.
func (d *Device) ID() virtio.ID { return virtio.IDEntropy }

// Name implements virtio.Device.
func (d *Device) Name() string { return d.name }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return virtio.FeatureIndirectDesc | virtio.FeatureEventIdx }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig implements virtio.Device: the device has no configuration space.
func (d *Device) ReadConfig(_ uint32, b []byte) { clear(b) }

// WriteConfig implements virtio.Device.
func (d *Device) WriteConfig(uint32, []byte) {}

// session is a device at work, from Activate to Reset.
type session struct {
	dev      *Device
	fail     func(error)
	q        *virtqueue.Queue
	stopping chan struct{}
	done     chan struct{}
}

// Activate implements virtio.Device.
func (d *Device) Activate(a *virtio.Activation) error {
	if len(a.Queues) != 1 || a.Queues[0].Size > queueSize {
		return errors.New("driver set up queues that were not offered")
	}
	if a.Queues[0].Size == 0 {
		return nil // a driver without a queue never asks
	}
	q, err := virtqueue.New(a.Memory, 0, a.Queues[0], a.Features, queueSize)
	if err != nil {
		return err
	}
	s := &session{dev: d, fail: a.Fail, q: q, stopping: make(chan struct{}), done: make(chan struct{})}
	d.mu.Lock()
	d.active = s
	d.mu.Unlock()
	go func() {
		defer close(s.done)
		if err := s.run(); err != nil && !errors.Is(err, eventfd.ErrClosed) {
			s.fail(err)
		}
	}()
	return nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.active
	if s == nil {
		return
	}
	close(s.stopping)
	s.q.Stop()
	<-s.done
	d.active = nil
	d.ended = virtqueue.Positions(s.q)
	d.kicks += s.q.Kicks()
	d.calls += s.q.Calls()
}

func (s *session) run() error {
	c := s.q.NewChain()
	for !s.q.Stopped() {
		ok, err := s.q.Pop(c)
		if err != nil {
			return err
		}
		if !ok {
			if err := s.q.Await(); err != nil {
				return err
			}
			continue
		}
		if len(c.Writable) == 0 {
			return errNotWritable
		}
		want := uint64(min(virtqueue.Len(c.Writable), MaxRequest))
		got, ok := s.tokens(want)
		if !ok {
			s.q.Unpop(1) // stopped: the request waits for the next activation
			return nil
		}
		n, err := s.dev.fill(virtqueue.Truncate(c.Writable, int(got)))
		if err != nil {
			// The host's generator failed. Returning the buffer empty would have the driver
			// ask again at once, for ever.
			s.dev.errors.Add(1)
			return err
		}
		s.dev.requests.Add(1)
		s.dev.bytes.Add(uint64(n))
		s.q.Push(c.Head, uint32(n))
		if err := s.q.Publish(); err != nil {
			return err
		}
	}
	return nil
}

// tokens takes up to want tokens, at least one, waiting for them if need be. It
// returns false when the device is stopped first.
func (s *session) tokens(want uint64) (got uint64, ok bool) {
	for {
		got, wait := s.dev.bucket.take(want, s.dev.clock.Now())
		if got > 0 {
			return got, true
		}
		s.dev.throttled.Add(1)
		select {
		case <-s.dev.clock.After(wait):
		case <-s.stopping:
			return 0, false
		}
	}
}

// fill reads random bytes straight into guest memory and returns how many.
func (d *Device) fill(segs [][]byte) (n int, err error) {
	for _, seg := range segs {
		for len(seg) > 0 {
			got, err := unix.Read(d.source, seg)
			switch {
			case err == unix.EINTR:
			case err != nil:
				return n, fmt.Errorf("read the random source: %w", err)
			case got == 0:
				return n, fmt.Errorf("read the random source: %w", io.ErrUnexpectedEOF)
			default:
				seg = seg[got:]
				n += got
			}
		}
	}
	return n, nil
}

// Position implements virtio.Positioner.
func (d *Device) Position(queue int) (avail, used uint16) { return d.ended.At(queue) }

// Counters implements virtio.Device.
func (d *Device) Counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	kicks, calls := d.kicks, d.calls
	if d.active != nil {
		kicks += d.active.q.Kicks()
		calls += d.active.q.Calls()
	}
	return map[string]uint64{
		"requests":   d.requests.Load(),
		"bytes":      d.bytes.Load(),
		"throttled":  d.throttled.Load(),
		"errors":     d.errors.Load(),
		"kicks":      kicks,
		"interrupts": calls,
	}
}

// stateVersion is the version of state.
const stateVersion = 1

// state is a saved entropy device. Tokens do not grow while a guest is saved.
type state struct {
	Version int    `json:"version"`
	Tokens  uint64 `json:"tokens"`
}

// Save implements virtio.Device.
func (d *Device) Save() (json.RawMessage, error) {
	d.bucket.refill(d.clock.Now())
	return json.Marshal(state{stateVersion, d.bucket.tokens})
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
	d.bucket.refill(d.clock.Now())
	d.bucket.tokens = min(s.Tokens, d.bucket.size)
	return nil
}

// Close implements virtio.Device.
func (d *Device) Close() error {
	if err := unix.Close(d.source); err != nil {
		return fmt.Errorf("close the random source: %w", err)
	}
	return nil
}
