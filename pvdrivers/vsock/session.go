package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

var (
	errRing        = errors.New("vhost-vsock found the ring broken")
	errEventBuffer = errors.New("event buffer has no room for an event")
)

// An event is a 32-bit number (virtio 1.2, section 5.10.6.7).
const (
	eventBytes          = 4
	eventTransportReset = 0
)

// session is a device at work, from Activate to Reset.
type session struct {
	dev     *Device
	fail    func(error)
	setUp   [kernelQueues]bool // the kernel has the queue
	errFDs  [kernelQueues]int
	watch   [kernelQueues]*eventfd.Waiter
	events  *virtqueue.Queue // nil if the driver did not enable it
	running sync.WaitGroup
}

func newSession(d *Device, a *virtio.Activation) (_ *session, err error) {
	if len(a.Queues) > queueCount {
		return nil, fmt.Errorf("%d queues, %d were offered", len(a.Queues), queueCount)
	}
	for i, q := range a.Queues {
		if q.Size > queueSizes[i] {
			return nil, fmt.Errorf("queue %d of size %d, %d was offered", i, q.Size, queueSizes[i])
		}
	}
	s := &session{dev: d, fail: a.Fail, errFDs: [kernelQueues]int{-1, -1}}
	defer func() {
		if err != nil {
			_, stopErr := s.stop()
			err = errors.Join(err, stopErr)
		}
	}()
	if err := d.vhost.SetFeatures(a.Features & vhostFeatures); err != nil {
		return nil, err
	}
	if err := d.vhost.SetMemory(a.Memory); err != nil {
		return nil, err
	}
	var resumed []virtio.Queue
	for i, q := range a.Queues {
		if q.Size == 0 {
			continue
		}
		if i == queueEvent {
			if s.events, err = virtqueue.New(a.Memory, i, q, a.Features, int(queueSizes[i])); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.setUpKernelQueue(i, a, q); err != nil {
			return nil, err
		}
		if q.NextAvail != 0 || q.NextUsed != 0 {
			resumed = append(resumed, q)
		}
	}
	if s.setUp != [kernelQueues]bool{true, true} {
		// The kernel starts both queues or none; a driver without them moves nothing.
		return s, nil
	}
	if err := d.vhost.SetRunning(true); err != nil {
		return nil, err
	}
	for i := range s.watch {
		s.running.Go(func() {
			if s.watch[i].Wait() == nil {
				s.fail(fmt.Errorf("queue %d: %w", i, errRing))
			}
		})
	}
	for _, q := range resumed {
		// Either notification may have been lost with the old transport.
		if err := errors.Join(eventfd.Signal(q.KickFD), eventfd.Signal(q.CallFD)); err != nil {
			return nil, err
		}
	}
	if d.restored && s.events != nil {
		s.running.Go(s.tellReset)
	}
	return s, nil
}

func (s *session) setUpKernelQueue(i int, a *virtio.Activation, q virtio.Queue) (err error) {
	if err := s.dev.vhost.SetQueue(i, a.Memory, q); err != nil {
		return err
	}
	s.setUp[i] = true
	if s.errFDs[i], err = eventfd.New(); err != nil {
		return err
	}
	if err := s.dev.vhost.SetQueueError(i, s.errFDs[i]); err != nil {
		return err
	}
	s.watch[i], err = eventfd.NewWaiter(s.errFDs[i])
	return err
}

// tellReset gives the driver one transport reset event, as soon as it has a
// buffer for it.
func (s *session) tellReset() {
	c := s.events.NewChain()
	for {
		ok, err := s.events.Pop(c)
		if err == nil && ok && virtqueue.Len(c.Writable) < eventBytes {
			err = errEventBuffer
		}
		if err != nil {
			s.fail(err)
			return
		}
		if ok {
			break
		}
		if s.events.Await() != nil {
			return // stopped; the next activation tells it
		}
	}
	var event [eventBytes]byte
	binary.LittleEndian.PutUint32(event[:], eventTransportReset)
	virtqueue.CopyIn(c.Writable, event[:])
	s.events.Push(c.Head, eventBytes)
	s.dev.mu.Lock()
	s.dev.restored = false
	s.dev.counters.events++
	s.dev.mu.Unlock()
	if err := s.events.Publish(); err != nil {
		s.fail(err)
	}
}

// stop returns when neither the kernel nor a goroutine uses guest memory for the
// device any more.
func (s *session) stop() (virtio.Positions, error) {
	at := make(virtio.Positions, queueCount)
	errs := []error{s.dev.vhost.SetRunning(false)}
	for i, up := range s.setUp {
		if !up {
			continue
		}
		base, err := s.dev.vhost.QueueBase(i)
		errs = append(errs, err, s.dev.vhost.SetQueueError(i, vhost.NoFile))
		// vhost-vsock returns a buffer before it takes the next, so both indices agree.
		at[i] = virtio.Position{Avail: base, Used: base}
	}
	for i, w := range s.watch {
		if w != nil {
			w.Close()
		}
		if s.errFDs[i] >= 0 {
			errs = append(errs, unix.Close(s.errFDs[i]))
		}
	}
	if s.events != nil {
		s.events.Stop()
	}
	s.running.Wait()
	if s.events != nil {
		at[queueEvent].Avail, at[queueEvent].Used = s.events.Position()
	}
	return at, errors.Join(errs...)
}
