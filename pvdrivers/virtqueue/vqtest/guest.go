package vqtest

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

const pageSize = 4096

// HighMemory is the guest address of the second memory region of a Guest.
const HighMemory = 1 << 32

// Guest is a guest's memory and a trivial allocator in it.
type Guest struct {
	Memory *guestmem.Memory

	t    testing.TB
	fd   int
	next uint64
	end  uint64
}

// NewGuest makes a guest with two regions of size bytes each, at 0 and at
// HighMemory, so that there is a hole between them.
func NewGuest(t testing.TB, size uint64) *Guest {
	t.Helper()
	size = (size + pageSize - 1) &^ (pageSize - 1)
	fd, err := unix.MemfdCreate("vqtest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, int64(2*size)); err != nil {
		t.Fatal(err)
	}
	mem, err := guestmem.Map(fd, []guestmem.Region{
		{GuestAddr: 0, Size: size},
		{GuestAddr: HighMemory, Size: size, Offset: size},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mem.Unmap()
		unix.Close(fd)
	})
	return &Guest{Memory: mem, t: t, fd: fd, next: pageSize, end: size}
}

// Alloc returns the guest address of n fresh zeroed bytes in the low region,
// aligned to 16 bytes.
func (g *Guest) Alloc(n int) uint64 {
	g.t.Helper()
	addr := g.next
	g.next = (g.next + uint64(n) + 15) &^ 15
	if g.next > g.end {
		g.t.Fatalf("vqtest: guest memory of %d bytes is used up", g.end)
	}
	return addr
}

// Bytes is the guest's view of its memory.
func (g *Guest) Bytes(addr uint64, n int) []byte {
	g.t.Helper()
	b, err := g.Memory.Slice(addr, uint64(n))
	if err != nil {
		g.t.Fatal(err)
	}
	return b
}

// Put allocates memory for data and writes it there.
func (g *Guest) Put(data []byte) uint64 {
	g.t.Helper()
	addr := g.Alloc(len(data))
	copy(g.Bytes(addr, len(data)), data)
	return addr
}

// eventFD makes an eventfd that lives as long as the test.
func (g *Guest) eventFD() int {
	g.t.Helper()
	fd, err := eventfd.New()
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// Transport stands in for what a transport hands to a device: the activation and
// a record of what the device asked of it.
type Transport struct {
	Activation *virtio.Activation

	failOnce sync.Once
	failed   chan struct{}
	err      error
	changed  chan struct{}
}

// NewTransport makes an activation with the given queues, a nil one being a
// queue that the driver did not enable.
func (g *Guest) NewTransport(features uint64, queues ...*Queue) *Transport {
	tr := &Transport{failed: make(chan struct{}), changed: make(chan struct{}, 64)}
	tr.Activation = &virtio.Activation{
		Memory:   g.Memory,
		Features: features | virtio.FeatureVersion1,
		Fail: func(err error) {
			tr.failOnce.Do(func() {
				tr.err = err
				close(tr.failed)
			})
		},
		ConfigChanged: func() { tr.changed <- struct{}{} },
	}
	for _, q := range queues {
		if q == nil {
			tr.Activation.Queues = append(tr.Activation.Queues, virtio.Queue{KickFD: -1, CallFD: -1})
			continue
		}
		tr.Activation.Queues = append(tr.Activation.Queues, q.Setup)
	}
	return tr
}

// Failed is closed when the device went to error.
func (tr *Transport) Failed() <-chan struct{} { return tr.failed }

// Changed receives a value for each change of configuration space.
func (tr *Transport) Changed() <-chan struct{} { return tr.changed }

// Err is what the device gave to Fail; nil while it has not.
func (tr *Transport) Err() error {
	select {
	case <-tr.failed:
		return tr.err
	default:
		return nil
	}
}
