package console

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

// chunk is how much output the sink gets at once.
const chunk = 4096

// Chains of the two directions must have a part of the right kind.
var (
	errNotWritable = errors.New("receive buffer has no writable part")
	errNotReadable = errors.New("transmit buffer has no readable part")
)

// counters count since the device was made.
type counters struct {
	inputBytes, outputBytes atomic.Uint64
	sinkErrors              atomic.Uint64 // pieces of output the sink refused

	kicks, calls uint64 // of the queues of past activations; guarded by Device.mu
}

// Counters implements virtio.Device.
func (d *Device) Counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	kicks, calls := d.counters.kicks, d.counters.calls
	if d.active != nil {
		k, c := virtqueue.Notifications(d.active.queues[:]...)
		kicks += k
		calls += c
	}
	return map[string]uint64{
		"input_bytes":  d.counters.inputBytes.Load(),
		"output_bytes": d.counters.outputBytes.Load(),
		"sink_errors":  d.counters.sinkErrors.Load(),
		"kicks":        kicks,
		"interrupts":   calls,
	}
}

// session is a device at work, from Activate to Reset.
type session struct {
	dev           *Device
	fail          func(error)
	configChanged func()
	sized         bool // VIRTIO_CONSOLE_F_SIZE was accepted
	queues        [queueCount]*virtqueue.Queue
	stopping      chan struct{}
	running       sync.WaitGroup
}

func newSession(d *Device, a *virtio.Activation) (*session, error) {
	s := &session{
		dev:           d,
		fail:          a.Fail,
		configChanged: a.ConfigChanged,
		sized:         a.Features&featureSize != 0,
		stopping:      make(chan struct{}),
	}
	if len(a.Queues) > queueCount {
		return nil, fmt.Errorf("%d queues, %d were offered", len(a.Queues), queueCount)
	}
	for i, setup := range a.Queues {
		if setup.Size == 0 {
			continue
		}
		if setup.Size > queueSize {
			s.stopQueues()
			return nil, fmt.Errorf("queue %d of size %d, %d was offered", i, setup.Size, queueSize)
		}
		q, err := virtqueue.New(a.Memory, i, setup, a.Features, queueSize)
		if err != nil {
			s.stopQueues()
			return nil, err
		}
		s.queues[i] = q
	}
	return s, nil
}

func (s *session) start() {
	for i, direction := range [queueCount]func(*virtqueue.Queue) error{
		queueReceive:  s.receive,
		queueTransmit: s.transmit,
	} {
		q := s.queues[i]
		if q == nil {
			continue
		}
		s.running.Go(func() {
			if err := direction(q); err != nil && !errors.Is(err, eventfd.ErrClosed) {
				s.fail(err)
			}
		})
	}
}

func (s *session) stop() {
	close(s.stopping)
	s.stopQueues()
	s.running.Wait()
}

func (s *session) stopQueues() {
	for _, q := range s.queues {
		if q != nil {
			q.Stop()
		}
	}
}

// transmit moves the guest's output to the sink.
func (s *session) transmit(q *virtqueue.Queue) error {
	c := q.NewChain()
	// The sink gets a copy: the guest may change its memory while the sink looks.
	buf := make([]byte, chunk)
	for !q.Stopped() {
		ok, err := q.Pop(c)
		if err != nil {
			return err
		}
		if !ok {
			if err := q.Await(); err != nil {
				return err
			}
			continue
		}
		if len(c.Readable) == 0 {
			return errNotReadable
		}
		// A chain can be gigabytes long, so a stop is looked for at every piece.
		for out := c.Readable; len(out) > 0; {
			if q.Stopped() {
				// Not returned to the driver, so not taken: a restored console says it again.
				q.Unpop(1)
				return nil
			}
			n := virtqueue.CopyOut(buf, out)
			out = virtqueue.Skip(out, n)
			s.dev.counters.outputBytes.Add(uint64(n))
			if _, err := s.dev.sink.Write(buf[:n]); err != nil {
				// The guest has nothing to do with it, so for the guest it is written.
				s.dev.counters.sinkErrors.Add(1)
			}
		}
		q.Push(c.Head, 0)
		if err := q.Publish(); err != nil {
			return err
		}
	}
	return nil
}

// receive moves input to the guest. It takes input only when the guest has a
// buffer for it.
func (s *session) receive(q *virtqueue.Queue) error {
	c := q.NewChain()
	for s.dev.in.wait(s.stopping) {
		ok, err := q.Pop(c)
		if err != nil {
			return err
		}
		if !ok {
			if err := q.Await(); err != nil {
				return err
			}
			continue
		}
		if len(c.Writable) == 0 {
			return errNotWritable
		}
		n := s.dev.in.take(c.Writable)
		s.dev.counters.inputBytes.Add(uint64(n))
		q.Push(c.Head, uint32(n))
		if err := q.Publish(); err != nil {
			return err
		}
	}
	return nil
}
