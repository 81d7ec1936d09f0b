package virtqueue

import (
	"fmt"
	"sync/atomic"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

// MaxSize is the largest queue size (virtio 1.2, section 2.7).
const MaxSize = 1 << 15

// Layout of the rings (virtio 1.2, sections 2.7.5, 2.7.6 and 2.7.8). Both rings
// begin with 16-bit flags and a 16-bit idx and end with a 16-bit event index.
const (
	descBytes      = 16
	availElemBytes = 2
	usedElemBytes  = 8
	ringFlags      = 0
	ringIdx        = 2
	ringElems      = 4

	flagNoInterrupt = 1 // VIRTQ_AVAIL_F_NO_INTERRUPT
	flagNoNotify    = 1 // VIRTQ_USED_F_NO_NOTIFY
)

// Queue is the device's side of one virtqueue.
type Queue struct {
	number   int
	size     uint16
	maxChain int
	mem      *guestmem.Memory
	eventIdx bool
	indirect bool

	desc  []byte // written by the driver
	avail []byte // written by the driver
	used  []byte // written by the device
	// Where used_event and avail_event are in avail and used.
	usedEvent, availEvent int

	waiter  *eventfd.Waiter // of the driver's kicks
	callFD  int
	stopped atomic.Bool

	// The taking half.
	nextAvail uint16 // next entry of the available ring to take
	availIdx  uint16 // available idx when last loaded

	// The giving half.
	nextUsed     uint16 // next entry of the used ring to fill
	announced    uint16 // used idx at the last Publish
	hasAnnounced bool   // whether announced says anything yet

	kicks, calls atomic.Uint64
}

// New returns the device's side of the queue q, number being its number in its
// device. Features are those negotiated; maxChain is the largest number of
// descriptors in one chain, normally the queue size the device offered.
//
// A queue that goes on from a saved position interrupts the guest once, as the
// interrupt for its last used buffers may have been lost with the old transport.
// The matching kick needs no replay: a device looks at its rings before it waits.
//
// The queue duplicates q.KickFD and uses q.CallFD as it is. Stop releases it.
func New(mem *guestmem.Memory, number int, q virtio.Queue, features uint64, maxChain int) (*Queue, error) {
	fail := func(err error) (*Queue, error) {
		return nil, fmt.Errorf("virtqueue %d: %w", number, err)
	}
	if q.Size == 0 || q.Size > MaxSize || q.Size&(q.Size-1) != 0 {
		return fail(fmt.Errorf("size %d is no power of two up to %d", q.Size, MaxSize))
	}
	size := uint64(q.Size)
	vq := &Queue{
		number:     number,
		size:       q.Size,
		maxChain:   maxChain,
		mem:        mem,
		eventIdx:   features&virtio.FeatureEventIdx != 0,
		indirect:   features&virtio.FeatureIndirectDesc != 0,
		usedEvent:  ringElems + int(q.Size)*availElemBytes,
		availEvent: ringElems + int(q.Size)*usedElemBytes,
		callFD:     q.CallFD,
		nextAvail:  q.NextAvail,
		availIdx:   q.NextAvail,
		nextUsed:   q.NextUsed,
	}
	for _, part := range []struct {
		name        string
		addr, bytes uint64
		align       uint64 // virtio 1.2, section 2.7
		to          *[]byte
	}{
		{"descriptor table", q.Desc, size * descBytes, 16, &vq.desc},
		{"available ring", q.Driver, ringElems + size*availElemBytes + 2, 2, &vq.avail},
		{"used ring", q.Device, ringElems + size*usedElemBytes + 2, 4, &vq.used},
	} {
		if part.addr%part.align != 0 {
			return fail(fmt.Errorf("%s at %#x is not aligned to %d bytes", part.name, part.addr, part.align))
		}
		b, err := mem.Slice(part.addr, part.bytes)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", part.name, err))
		}
		*part.to = b
	}
	var err error
	if vq.waiter, err = eventfd.NewWaiter(q.KickFD); err != nil {
		return fail(fmt.Errorf("kick: %w", err))
	}
	if q.NextAvail != 0 || q.NextUsed != 0 {
		if err := eventfd.Signal(q.CallFD); err != nil {
			vq.waiter.Close()
			return fail(fmt.Errorf("call: %w", err))
		}
	}
	return vq, nil
}

// Size is the queue's size in descriptors.
func (q *Queue) Size() uint16 { return q.size }

// Position returns the next available and used index, from which another Queue
// can go on. The device must not be at work on the queue.
func (q *Queue) Position() (avail, used uint16) { return q.nextAvail, q.nextUsed }

// Kicks returns how often the driver's notification woke the device.
func (q *Queue) Kicks() uint64 { return q.kicks.Load() }

// Calls returns how often the device interrupted the guest.
func (q *Queue) Calls() uint64 { return q.calls.Load() }

// Stop makes Await return eventfd.ErrClosed, now and later, and Stopped true.
// Safe from any goroutine.
func (q *Queue) Stop() {
	q.stopped.Store(true)
	q.waiter.Close()
}

// Stopped says whether Stop was called. A device looks between two chains, so
// that a driver that never stops adding cannot hold up a reset.
func (q *Queue) Stopped() bool { return q.stopped.Load() }

// Await asks the driver for a notification and returns when there may be chains
// that Pop has not seen yet. Pop must have returned false, so that none is left
// (chains put back by Unpop count as seen). While the device is at work the
// driver need not notify.
func (q *Queue) Await() error {
	if q.armKick() {
		if err := q.waiter.Wait(); err != nil {
			return err
		}
		q.kicks.Add(1)
	} else if q.Stopped() {
		return eventfd.ErrClosed
	}
	if !q.eventIdx {
		guestmem.Store16(q.used[ringFlags:], flagNoNotify)
	}
	// With EVENT_IDX the driver notifies when it passes avail_event, which now lies
	// behind it: nothing to do.
	return nil
}

// armKick asks for a notification of the next unseen chain and returns false if
// there already is one.
func (q *Queue) armKick() bool {
	// Full barrier: the wish must be visible before the index is looked at.
	if q.eventIdx {
		guestmem.StoreFence16(q.used[q.availEvent:], q.availIdx)
	} else {
		guestmem.StoreFence16(q.used[ringFlags:], 0)
	}
	return guestmem.Load16(q.avail[ringIdx:]) == q.availIdx
}

// Push gives the chain with the given head back to the driver, saying that the
// first written bytes of its writable part were filled. The driver does not see
// it before Publish.
func (q *Queue) Push(head uint16, written uint32) {
	elem := ringElems + int(q.nextUsed&(q.size-1))*usedElemBytes
	guestmem.Store64(q.used[elem:], uint64(head)|uint64(written)<<32)
	q.nextUsed++
}

// Publish makes all pushed chains visible at once and interrupts the guest if
// the driver asked for it.
func (q *Queue) Publish() error {
	prev, now := q.announced, q.nextUsed
	// Full barrier: the index must be visible before the driver's wish is read.
	guestmem.StoreFence16(q.used[ringIdx:], now)
	first := !q.hasAnnounced
	q.announced, q.hasAnnounced = now, true
	switch {
	case first:
		// What the driver was told before is unknown: after a restore its used_event
		// may lie behind. One interrupt too many is harmless.
	case q.eventIdx:
		event := guestmem.Load16(q.avail[q.usedEvent:])
		// Whether event is in [prev, now), modulo 2^16 (virtio 1.2, section 2.7.7.2).
		if now-event-1 >= now-prev {
			return nil
		}
	case now == prev, guestmem.Load16(q.avail[ringFlags:])&flagNoInterrupt != 0:
		return nil
	}
	q.calls.Add(1)
	return eventfd.Signal(q.callFD)
}
