package vqtest

import (
	"encoding/binary"
	"time"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

// patience bounds how long a test waits for a device before it is said to hang.
const patience = 30 * time.Second

// Buffer is one descriptor of a chain.
type Buffer struct {
	Addr     uint64
	Len      uint32
	Writable bool // by the device
}

// Used is an element of the used ring.
type Used struct {
	ID  uint32 // head of the chain
	Len uint32 // bytes written by the device
}

// Queue is the driver's side of a virtqueue.
type Queue struct {
	Setup virtio.Queue // what the driver tells the device

	g        *Guest
	eventIdx bool
	waiter   *eventfd.Waiter
	free     []uint16            // descriptors
	chains   map[uint16][]uint16 // head to its descriptors
	avail    uint16              // next available idx
	kicked   uint16              // available idx at the last Kick
	used     uint16              // next used entry to look at
}

// NewQueue makes an empty queue in fresh guest memory.
func (g *Guest) NewQueue(size uint16, features uint64) *Queue {
	g.t.Helper()
	q := &Queue{
		Setup: virtio.Queue{
			Size:   size,
			Desc:   g.Alloc(int(size) * 16),
			Driver: g.Alloc(int(size)*2 + 6),
			Device: g.Alloc(int(size)*8 + 6),
			KickFD: g.eventFD(),
			CallFD: g.eventFD(),
		},
		g:        g,
		eventIdx: features&virtio.FeatureEventIdx != 0,
		chains:   map[uint16][]uint16{},
	}
	for i := range size {
		q.free = append(q.free, size-1-i)
	}
	w, err := eventfd.NewWaiter(q.Setup.CallFD)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(w.Close)
	q.waiter = w
	return q
}

// Restart empties the queue, as a driver does after a device reset. Chains that
// were out are forgotten.
func (q *Queue) Restart() {
	size := int(q.Setup.Size)
	clear(q.descBytes())
	clear(q.availBytes())
	clear(q.usedBytes())
	q.free, q.chains = nil, map[uint16][]uint16{}
	for i := range size {
		q.free = append(q.free, uint16(size-1-i))
	}
	q.avail, q.kicked, q.used = 0, 0, 0
	q.Setup.NextAvail, q.Setup.NextUsed = 0, 0
	// Signals of before are no longer meant for anyone.
	for _, fd := range []int{q.Setup.KickFD, q.Setup.CallFD} {
		if _, err := eventfd.Drain(fd); err != nil {
			q.g.t.Fatal(err)
		}
	}
}

func (q *Queue) descBytes() []byte  { return q.g.Bytes(q.Setup.Desc, int(q.Setup.Size)*16) }
func (q *Queue) availBytes() []byte { return q.g.Bytes(q.Setup.Driver, int(q.Setup.Size)*2+6) }
func (q *Queue) usedBytes() []byte  { return q.g.Bytes(q.Setup.Device, int(q.Setup.Size)*8+6) }

// PutDescriptor writes descriptor i of the table at addr, as raw as it comes.
func (g *Guest) PutDescriptor(addr uint64, i int, b Buffer, flags, next uint16) {
	g.t.Helper()
	if b.Writable {
		flags |= 2
	}
	p := g.Bytes(addr+uint64(i)*16, 16)
	binary.LittleEndian.PutUint64(p, b.Addr)
	binary.LittleEndian.PutUint32(p[8:], b.Len)
	binary.LittleEndian.PutUint16(p[12:], flags)
	binary.LittleEndian.PutUint16(p[14:], next)
}

// Free is the number of unused descriptors.
func (q *Queue) Free() int { return len(q.free) }

// Add makes a chain of the buffers available and returns its head. The device is
// not told before Kick.
func (q *Queue) Add(bufs ...Buffer) uint16 {
	q.g.t.Helper()
	if len(bufs) == 0 || len(bufs) > len(q.free) {
		q.g.t.Fatalf("vqtest: chain of %d with %d free descriptors", len(bufs), len(q.free))
	}
	at := len(q.free) - len(bufs)
	descs := append([]uint16(nil), q.free[at:]...)
	q.free = q.free[:at]
	for i, b := range bufs {
		flags, next := uint16(0), uint16(0)
		if i+1 < len(bufs) {
			flags, next = 1, descs[i+1]
		}
		q.g.PutDescriptor(q.Setup.Desc, int(descs[i]), b, flags, next)
	}
	q.chains[descs[0]] = descs
	q.publish(descs[0])
	return descs[0]
}

// AddIndirect makes a chain of the buffers in an indirect table available.
func (q *Queue) AddIndirect(bufs ...Buffer) uint16 {
	q.g.t.Helper()
	table := q.g.Alloc(16 * len(bufs))
	for i, b := range bufs {
		flags := uint16(1)
		if i+1 == len(bufs) {
			flags = 0
		}
		q.g.PutDescriptor(table, i, b, flags, uint16(i+1))
	}
	if len(q.free) == 0 {
		q.g.t.Fatal("vqtest: no free descriptor")
	}
	head := q.free[len(q.free)-1]
	q.free = q.free[:len(q.free)-1]
	q.g.PutDescriptor(q.Setup.Desc, int(head), Buffer{Addr: table, Len: uint32(16 * len(bufs))}, 4, 0)
	q.chains[head] = []uint16{head}
	q.publish(head)
	return head
}

// AddHead makes whatever is in descriptor head available, well-formed or not.
func (q *Queue) AddHead(head uint16) { q.publish(head) }

func (q *Queue) publish(head uint16) {
	ring := q.availBytes()
	guestmem.Store16(ring[4+2*int(q.avail%q.Setup.Size):], head)
	q.avail++
	guestmem.StoreFence16(ring[2:], q.avail)
}

// SetAvail writes the available index as it comes.
func (q *Queue) SetAvail(idx uint16) {
	q.avail = idx
	guestmem.StoreFence16(q.availBytes()[2:], idx)
}

// Kick notifies the device of all added chains if it asked for it, and says
// whether it did.
func (q *Queue) Kick() bool {
	q.g.t.Helper()
	used := q.usedBytes()
	from, to := q.kicked, q.avail
	q.kicked = to
	if q.eventIdx {
		event := guestmem.Load16(used[len(used)-2:])
		if to-event-1 >= to-from {
			return false
		}
	} else if guestmem.Load16(used)&1 != 0 {
		return false
	}
	q.ForceKick()
	return true
}

// ForceKick notifies the device, asked or not.
func (q *Queue) ForceKick() {
	q.g.t.Helper()
	if err := eventfd.Signal(q.Setup.KickFD); err != nil {
		q.g.t.Fatal(err)
	}
}

// SuppressCalls asks the device not to interrupt.
func (q *Queue) SuppressCalls() {
	ring := q.availBytes()
	if q.eventIdx {
		guestmem.StoreFence16(ring[len(ring)-2:], q.used-1)
	} else {
		guestmem.StoreFence16(ring, 1)
	}
}

// TryUsed takes the next used element, without waiting.
func (q *Queue) TryUsed() (Used, bool) {
	q.g.t.Helper()
	ring := q.usedBytes()
	if guestmem.Load16(ring[2:]) == q.used {
		return Used{}, false
	}
	p := ring[4+8*int(q.used%q.Setup.Size):]
	u := Used{binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])}
	q.used++
	descs, ok := q.chains[uint16(u.ID)]
	if !ok {
		q.g.t.Errorf("vqtest: device returned chain %d, which it does not have", u.ID)
	}
	delete(q.chains, uint16(u.ID))
	q.free = append(q.free, descs...)
	return u, true
}

// WaitUsed takes the next used element, waiting for the device's interrupt as a
// driver does. A device that does not interrupt though it must fails the test.
func (q *Queue) WaitUsed() Used {
	q.g.t.Helper()
	hang := time.AfterFunc(patience, q.waiter.Close)
	defer hang.Stop()
	for {
		if u, ok := q.TryUsed(); ok {
			return u
		}
		ring := q.availBytes()
		if q.eventIdx {
			guestmem.StoreFence16(ring[len(ring)-2:], q.used)
		} else {
			guestmem.StoreFence16(ring, 0)
		}
		if u, ok := q.TryUsed(); ok {
			return u
		}
		if err := q.waiter.Wait(); err != nil {
			q.g.t.Fatalf("vqtest: the device did not interrupt within %v: %v", patience, err)
		}
	}
}

// Calls says how often the device interrupted since the last Wait or Calls.
func (q *Queue) Calls() uint64 {
	q.g.t.Helper()
	n, err := eventfd.Drain(q.Setup.CallFD)
	if err != nil {
		q.g.t.Fatal(err)
	}
	return n
}

// Do adds a chain, kicks, and waits for it to come back.
func (q *Queue) Do(bufs ...Buffer) Used {
	q.g.t.Helper()
	head := q.Add(bufs...)
	q.Kick()
	u := q.WaitUsed()
	if u.ID != uint32(head) {
		q.g.t.Fatalf("vqtest: chain %d came back, want %d", u.ID, head)
	}
	return u
}
