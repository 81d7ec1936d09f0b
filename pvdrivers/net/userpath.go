package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
)

var (
	errNoFrame    = errors.New("transmit buffer has no readable part")
	errNoBuffer   = errors.New("receive buffer has no writable part")
	errTinyBuffer = errors.New("receive buffer is shorter than a virtio-net header")
)

// userPath moves frames between tap and queues in this process.
type userPath struct {
	dev     *Device
	fail    func(error)
	limits  limits
	tap     *os.File
	queues  [queueCount]*virtqueue.Queue
	running sync.WaitGroup
}

func newUserPath(d *Device, a *virtio.Activation) (_ path, err error) {
	p := &userPath{dev: d, fail: a.Fail, limits: limits{features: a.Features}}
	if a.Features&featureMTU != 0 {
		p.limits.mtu = int(d.mtu)
	}
	defer func() {
		if err != nil {
			p.interrupt()
		}
	}()
	if p.tap, err = openTap(d.tap); err != nil {
		return nil, err
	}
	for i, setup := range a.Queues {
		if setup.Size == 0 {
			continue
		}
		if p.queues[i], err = virtqueue.New(a.Memory, i, setup, a.Features, queueSize); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *userPath) start() error {
	if q := p.queues[queueReceive]; q != nil {
		r := newReceiver(p, q)
		p.run(r.run)
	}
	if q := p.queues[queueTransmit]; q != nil {
		t, err := newTransmitter(p, q)
		if err != nil {
			return err
		}
		p.run(t.run)
	}
	return nil
}

// run runs one direction until it is stopped or fails.
func (p *userPath) run(direction func() error) {
	p.running.Go(func() {
		err := direction()
		if err != nil && !errors.Is(err, eventfd.ErrClosed) && !errors.Is(err, os.ErrClosed) {
			p.fail(err)
		}
	})
}

// interrupt makes every wait of the two directions end.
func (p *userPath) interrupt() {
	for _, q := range p.queues {
		if q != nil {
			q.Stop()
		}
	}
	if p.tap != nil {
		_ = p.tap.Close() // a duplicate; nothing is buffered in it
	}
}

func (p *userPath) stop() (virtio.Positions, error) {
	p.interrupt()
	p.running.Wait()
	return virtqueue.Positions(p.queues[:]...), nil
}

func (p *userPath) notifications() (kicks, calls uint64) {
	return virtqueue.Notifications(p.queues[:]...)
}

// receiver is the direction to the guest.
type receiver struct {
	*userPath
	q           *virtqueue.Queue
	mergeable   bool
	first, rest *virtqueue.Chain
	taken       [queueSize]takenBuffer // of the frame under way
	frame       []byte                 // header and frame, as read from the tap
}

type takenBuffer struct {
	head    uint16
	written uint32
}

func newReceiver(p *userPath, q *virtqueue.Queue) *receiver {
	return &receiver{
		userPath:  p,
		q:         q,
		mergeable: p.limits.features&featureMrgRxbuf != 0,
		first:     q.NewChain(),
		rest:      q.NewChain(),
		// One byte more than allowed, so that a longer frame shows.
		frame: make([]byte, headerBytes+maxFrame+1),
	}
}

func (r *receiver) run() error {
	count := &r.dev.counters
	for !r.q.Stopped() {
		n, err := r.tap.Read(r.frame)
		if err != nil {
			return fmt.Errorf("read tap: %w", err)
		}
		if n < headerBytes || !r.limits.fits(n-headerBytes, r.frame[headerGSOType]) {
			count.rxDroppedSize.Add(1)
			continue
		}
		if !r.limits.prepareReceive(r.frame) {
			count.rxDroppedHeader.Add(1)
			continue
		}
		delivered, err := r.deliver(r.frame[:n])
		if err != nil {
			if errors.Is(err, eventfd.ErrClosed) {
				count.rxDroppedReset.Add(1)
			}
			return err
		}
		if !delivered {
			count.rxDroppedSize.Add(1)
			continue
		}
		count.rxFrames.Add(1)
		count.rxBytes.Add(uint64(n - headerBytes))
	}
	return nil
}

// deliver puts a frame into the guest's buffers, waiting until there are enough.
// It returns false if the frame can never fit.
func (r *receiver) deliver(frame []byte) (bool, error) {
	for {
		n, enough, err := r.fill(frame)
		if err != nil {
			return false, err
		}
		if enough {
			for _, t := range r.taken[:n] {
				r.q.Push(t.head, t.written)
			}
			return true, r.q.Publish()
		}
		// What was filled goes back to be filled again; the driver has not seen it.
		r.q.Unpop(n)
		if n > 0 && !r.mergeable || n == int(r.q.Size()) {
			return false, nil
		}
		r.dev.counters.rxStalls.Add(1)
		if err := r.q.Await(); err != nil {
			return false, err
		}
	}
}

// fill copies a frame into as many buffers as it takes and returns how many, and
// whether they were enough.
func (r *receiver) fill(frame []byte) (n int, enough bool, err error) {
	for c := r.first; len(frame) > 0; c = r.rest {
		if n == int(r.q.Size()) || n == 1 && !r.mergeable {
			return n, false, nil
		}
		ok, err := r.q.Pop(c)
		if !ok || err != nil {
			return n, false, err
		}
		if len(c.Writable) == 0 {
			return n, false, errNoBuffer
		}
		written := virtqueue.CopyIn(c.Writable, frame)
		if n == 0 && written < headerBytes {
			return n, false, errTinyBuffer
		}
		r.taken[n] = takenBuffer{c.Head, uint32(written)}
		n++
		frame = frame[written:]
	}
	if n > 1 {
		var num [2]byte
		binary.LittleEndian.PutUint16(num[:], uint16(n))
		virtqueue.CopyIn(virtqueue.Skip(r.first.Writable, headerNumBuffers), num[:])
	}
	return n, true, nil
}

// transmitter is the direction from the guest.
type transmitter struct {
	*userPath
	q      *virtqueue.Queue
	chain  *virtqueue.Chain
	header [headerBytes]byte // the host's copy
	iovs   []unix.Iovec
	raw    syscall.RawConn
	// write is t.tryWrite, made once; its result is in err.
	write func(fd uintptr) bool
	err   error
}

// batch is how many frames are returned to the driver at once at most.
const batch = 64

func newTransmitter(p *userPath, q *virtqueue.Queue) (*transmitter, error) {
	raw, err := p.tap.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	t := &transmitter{
		userPath: p,
		q:        q,
		chain:    q.NewChain(),
		iovs:     make([]unix.Iovec, 0, queueSize+1),
		raw:      raw,
	}
	t.write = t.tryWrite
	return t, nil
}

func (t *transmitter) run() error {
	err := t.forward()
	// Whatever ended it, the driver gets back what was taken from it.
	return errors.Join(err, t.q.Publish())
}

func (t *transmitter) forward() error {
	for pending := 0; !t.q.Stopped(); {
		ok, err := t.q.Pop(t.chain)
		if err != nil {
			return err
		}
		if ok {
			if err := t.send(); err != nil {
				t.q.Unpop(1) // not taken
				return err
			}
			t.q.Push(t.chain.Head, 0)
			pending++
		}
		if pending == batch || !ok && pending > 0 {
			pending = 0
			if err := t.q.Publish(); err != nil {
				return err
			}
		}
		if ok {
			continue
		}
		if err := t.q.Await(); err != nil {
			return err
		}
	}
	return nil
}

// send checks and sends the frame of t.chain. A frame that is dropped is no
// error.
func (t *transmitter) send() error {
	count := &t.dev.counters
	out := t.chain.Readable
	if len(out) == 0 {
		return errNoFrame
	}
	total := virtqueue.Len(out)
	if virtqueue.CopyOut(t.header[:], out) < headerBytes {
		count.txDroppedHeader.Add(1)
		return nil
	}
	switch err := t.limits.checkTransmit(&t.header, total-headerBytes); err {
	case nil:
	case errFrameSize:
		count.txDroppedSize.Add(1)
		return nil
	default:
		count.txDroppedHeader.Add(1)
		return nil
	}
	t.iovs = appendIovec(t.iovs[:0], t.header[:])
	for _, seg := range virtqueue.Skip(out, headerBytes) {
		t.iovs = appendIovec(t.iovs, seg)
	}
	if err := t.raw.Write(t.write); err != nil {
		if t.q.Stopped() {
			return eventfd.ErrClosed
		}
		return fmt.Errorf("write tap: %w", err)
	}
	switch {
	case t.err == nil:
		count.txFrames.Add(1)
		count.txBytes.Add(uint64(total - headerBytes))
	case drops(t.err):
		count.txDroppedHost.Add(1)
	default:
		return fmt.Errorf("write tap: %w", t.err)
	}
	return nil
}

// tryWrite returns false to be called again when the tap takes frames.
func (t *transmitter) tryWrite(fd uintptr) bool {
	for {
		t.err = writev(fd, t.iovs)
		if t.err != unix.EINTR {
			return t.err != unix.EAGAIN
		}
	}
}
