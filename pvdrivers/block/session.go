package block

import (
	"fmt"
	"sync"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

// session is a device at work, from Activate to Reset.
type session struct {
	dev     *Device
	fail    func(error)
	through bool // writes are written through
	rings   []*ring
	work    chan *request

	takers, workers sync.WaitGroup
}

// ring is one queue and the requests that may be under way in it.
type ring struct {
	number int
	q      *virtqueue.Queue
	idle   chan *request

	mu sync.Mutex // over the giving half of q
}

func newSession(d *Device, a *virtio.Activation) (_ *session, err error) {
	s := &session{
		dev:     d,
		fail:    a.Fail,
		through: a.Features&featureFlush == 0,
		work:    make(chan *request),
	}
	defer func() {
		if err != nil {
			s.stopQueues()
		}
	}()
	for i, setup := range a.Queues {
		if setup.Size == 0 {
			continue
		}
		if i >= d.queues || setup.Size > queueSize {
			return nil, fmt.Errorf("queue %d of size %d was not offered", i, setup.Size)
		}
		q, err := virtqueue.New(a.Memory, i, setup, a.Features, queueSize)
		if err != nil {
			return nil, err
		}
		r := &ring{number: i, q: q, idle: make(chan *request, d.workers)}
		s.rings = append(s.rings, r)
		for range d.workers {
			r.idle <- newRequest(s, r)
		}
	}
	return s, nil
}

func (s *session) start() {
	for range s.dev.workers {
		s.workers.Go(s.serve)
	}
	for _, r := range s.rings {
		s.takers.Go(func() { s.take(r) })
	}
}

// stop returns when nothing of the session runs any more.
func (s *session) stop() {
	s.stopQueues()
	s.takers.Wait()
	close(s.work)
	s.workers.Wait()
}

func (s *session) stopQueues() {
	for _, r := range s.rings {
		r.q.Stop()
	}
}

// breakDown puts the device in error. Requests under way end; no more are taken.
func (s *session) breakDown(err error) {
	s.fail(err)
	s.stopQueues()
}

// queues returns the queues by number, nil for one that is not in use.
func (s *session) queues() []*virtqueue.Queue {
	out := make([]*virtqueue.Queue, s.dev.queues)
	for _, r := range s.rings {
		out[r.number] = r.q
	}
	return out
}

// take moves requests from a ring to the workers until the ring is stopped. With
// all requests of the ring under way it waits for one to end, which bounds what
// a driver can have going.
func (s *session) take(r *ring) {
	for !r.q.Stopped() {
		req := <-r.idle
		ok, err := r.q.Pop(req.chain)
		if ok {
			s.work <- req
			continue
		}
		r.idle <- req
		if err != nil {
			s.breakDown(err)
			return
		}
		if err := r.q.Await(); err != nil {
			// Stopped; a kick descriptor does not fail in any other way.
			return
		}
	}
}

func (s *session) serve() {
	for req := range s.work {
		if err := req.serve(); err != nil {
			s.breakDown(err)
		}
		req.ring.idle <- req
	}
}

// complete gives a request back to the driver.
func (r *ring) complete(head uint16, written uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.q.Push(head, written)
	return r.q.Publish()
}
