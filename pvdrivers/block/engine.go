package block

import (
	"io"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/uring"
)

const (
	// engineDepth is how many requests of a queue are under way at most.
	engineDepth = 128
	// engineEntries is room for an operation of each and for those of the engine.
	engineEntries = 2 * engineDepth
	// engineThreads bounds the kernel's threads for what would block an engine.
	engineThreads = 16
	// engineHelpers is how many workers serve what engines cannot.
	engineHelpers = 4
)

// Tags of an engine's own operations. Below are the requests'.
const (
	tagKick   = engineDepth + iota // the queue's kick descriptor can be read
	tagWake                        // wake was called
	tagUnkick                      // the watch of the kick descriptor ended, or did not
)

// engine serves a queue from one thread with one system call, which hands all new
// requests to the kernel and waits for completions, the driver's next kick and
// wake alike. It lives as long as the device.
type engine struct {
	dev      *Device
	wakeFD   int
	sessions chan engineSession // unbuffered; closing it ends the engine
	ended    chan struct{}

	// Of the engine's thread.
	ring     *uring.Ring
	waking   bool // whether wakeFD is watched
	requests []*request
	free     []*request
	busy     int
	unsaid   bool // whether chains were pushed since the last Publish
	kicking  bool // whether the kick descriptor is watched
	ending   bool // whether that watch is being ended

	mu   sync.Mutex
	done []*request // performed by a worker
}

type engineSession struct {
	*session
	r *ring
}

// newEngines returns an engine for each of the device's queues, or none if the
// kernel does not give what that takes.
func newEngines(d *Device) []*engine {
	var engines []*engine
	for range d.queues {
		e, err := newEngine(d)
		if err != nil {
			// An old kernel, or one told not to. Workers do the same with more calls.
			for _, e := range engines {
				e.close()
			}
			return nil
		}
		engines = append(engines, e)
	}
	return engines
}

func newEngine(d *Device) (*engine, error) {
	e := &engine{dev: d, sessions: make(chan engineSession), ended: make(chan struct{})}
	var err error
	if e.wakeFD, err = eventfd.New(); err != nil {
		return nil, err
	}
	made := make(chan error)
	go e.run(made)
	if err := <-made; err != nil {
		_ = unix.Close(e.wakeFD)
		return nil, err
	}
	return e, nil
}

// close ends the engine. It must not be serving.
func (e *engine) close() {
	close(e.sessions)
	<-e.ended
	_ = unix.Close(e.wakeFD)
}

// run is the engine's goroutine. It keeps its thread, which is the only one that
// may use the ring, and which ends with it.
func (e *engine) run(made chan<- error) {
	defer close(e.ended)
	runtime.LockOSThread()
	var err error
	e.ring, err = uring.New(engineEntries, engineThreads)
	made <- err
	if err != nil {
		return
	}
	for s := range e.sessions {
		e.serve(s)
		s.takers.Done()
	}
	_ = e.ring.Close()
}

// wake makes the engine look around. From any goroutine.
func (e *engine) wake() {
	// It cannot fail: the descriptor is open, and a full counter is no error.
	_ = eventfd.Signal(e.wakeFD)
}

// performed gives back a request that a worker performed.
func (e *engine) performed(r *request) {
	e.mu.Lock()
	e.done = append(e.done, r)
	e.mu.Unlock()
	e.wake()
}

// serve serves a queue until it is stopped and nothing of it is under way.
func (e *engine) serve(s engineSession) {
	for !e.over(s) {
		wait := e.take(s)
		e.publish(s)
		e.dev.counters.syscalls.Add(1)
		if err := e.ring.Enter(wait); err != nil {
			// Requests are under way whose end nobody could wait for, and memory that
			// they write to must not be given up. Nothing a guest does leads here.
			panic(err)
		}
		e.reap(s)
		e.publish(s)
	}
	clear(e.requests)
	e.requests, e.free = e.requests[:0], e.free[:0]
}

// over prepares what the next Enter is to watch and returns true when all has
// ended.
func (e *engine) over(s engineSession) bool {
	if !e.waking {
		e.ring.Watch(tagWake, e.wakeFD)
		e.waking = true
	}
	stopping := s.r.q.Stopped() && e.busy == 0
	switch {
	case !stopping && !e.kicking:
		e.ring.Watch(tagKick, s.r.kickFD)
		e.kicking = true
	case stopping && e.kicking && !e.ending:
		e.ring.Unwatch(tagUnkick, tagKick)
		e.ending = true
	}
	// The ring is left without operations that name descriptors of the session.
	return stopping && !e.kicking && !e.ending && e.ring.Prepared() == 0
}

// take begins all new requests and returns true if there is nothing to do then
// until a completion. With as many under way as may be, it waits for one to end,
// which bounds what a driver can have going.
func (e *engine) take(s engineSession) (wait bool) {
	for range engineDepth {
		if s.r.q.Stopped() {
			return true
		}
		req := e.request(s)
		if req == nil {
			return true
		}
		ok, err := s.r.q.Pop(req.chain)
		if err == nil && !ok {
			e.free = append(e.free, req)
			// What is done already must not wait for what is not.
			e.publish(s)
			return s.r.q.Arm()
		}
		if err == nil {
			err = req.parse()
		}
		if err != nil {
			e.free = append(e.free, req)
			s.breakDown(err)
			return false
		}
		e.busy++
		e.begin(s, req)
	}
	return false // the others shall not wait for a driver that never stops adding
}

// request returns a free request, nil if there is none.
func (e *engine) request(s engineSession) *request {
	if n := len(e.free); n > 0 {
		r := e.free[n-1]
		e.free = e.free[:n-1]
		return r
	}
	if len(e.requests) == engineDepth {
		return nil
	}
	r := newRequest(s.session, s.r)
	r.tag = uint64(len(e.requests))
	e.requests = append(e.requests, r)
	return r
}

func (e *engine) begin(s engineSession, r *request) {
	if !r.admit() {
		e.finish(s, r)
		return
	}
	e.issue(s, r)
}

// issue makes what is left of a request an operation of the ring, or a worker's if
// the ring cannot do it.
func (e *engine) issue(s engineSession, r *request) {
	disk := e.dev.disk
	switch {
	case r.typ == typeFlush:
		e.ring.Datasync(r.tag, disk.fd)
	case r.typ == typeIn && disk.aligned(r.left):
		e.ring.Readv(r.tag, disk.fd, r.left, r.off)
	case r.typ == typeOut && disk.aligned(r.left):
		e.ring.Writev(r.tag, disk.fd, r.left, r.off, writeFlags(s.through))
	default:
		s.work <- r // has room for all
	}
}

// reap takes all completions.
func (e *engine) reap(s engineSession) {
	for c, ok := e.ring.Next(); ok; c, ok = e.ring.Next() {
		switch c.Tag {
		case tagKick:
			e.kicking = c.More
			s.r.q.Kicked()
			s.r.q.Disarm()
		case tagWake:
			e.waking = c.More
			e.reapPerformed(s)
		case tagUnkick:
			e.ending = false
		default:
			e.completed(s, e.requests[c.Tag], c.Result)
		}
	}
}

// reapPerformed takes what workers performed.
func (e *engine) reapPerformed(s engineSession) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.done {
		e.finish(s, r)
	}
	clear(e.done)
	e.done = e.done[:0]
}

// completed goes on with a request whose operation ended with a result.
func (e *engine) completed(s engineSession, r *request, result int32) {
	err := unix.Errno(-result)
	switch {
	case result < 0 && (err == unix.EAGAIN || err == unix.EINTR):
		s.work <- r // a worker can wait for it
		return
	case r.typ == typeFlush:
		if result < 0 {
			r.end(statusOf(err), 0)
		} else {
			r.end(statusOK, 0)
		}
	case result < 0:
		r.transferred(err)
	case result == 0:
		// The file got shorter than it was, or takes nothing.
		r.transferred(io.ErrUnexpectedEOF)
	default:
		r.off += int64(result)
		if r.left = advance(r.left, int(result)); len(r.left) > 0 {
			e.issue(s, r)
			return
		}
		r.transferred(nil)
	}
	e.finish(s, r)
}

// finish gives a request back to the driver, which sees it after publish.
func (e *engine) finish(s engineSession, r *request) {
	r.reply()
	s.r.q.Push(r.chain.Head, r.written)
	e.unsaid = true
	e.busy--
	e.free = append(e.free, r)
}

// publish tells the driver of what was finished since the last time.
func (e *engine) publish(s engineSession) {
	if !e.unsaid {
		return
	}
	e.unsaid = false
	if err := s.r.q.Publish(); err != nil {
		s.breakDown(err)
	}
}
