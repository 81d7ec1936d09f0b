package virtqueue_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"gozen/pvdrivers/virtqueue"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// FuzzHostileRing gives the guest all of its memory, rings included, and a
// device that takes and returns whatever it finds there. The memory is small, so
// that addresses often hit it, the rings themselves among them.
func FuzzHostileRing(f *testing.F) {
	const (
		memory = 8192
		size   = 8
		// Where the rings are.
		desc  = 0
		avail = size * 16
		used  = avail + 64
	)
	seed := func(fill func(b []byte)) []byte {
		b := make([]byte, 1024)
		fill(b)
		return b
	}
	put := func(b []byte, i int, addr uint64, n uint32, flags, next uint16) {
		d := b[desc+16*i:]
		binary.LittleEndian.PutUint64(d, addr)
		binary.LittleEndian.PutUint32(d[8:], n)
		binary.LittleEndian.PutUint16(d[12:], flags)
		binary.LittleEndian.PutUint16(d[14:], next)
	}
	f.Add(uint64(0), uint16(0), seed(func([]byte) {}))
	f.Add(uint64(0), uint16(0), seed(func(b []byte) { // an honest chain
		put(b, 0, 512, 16, 1, 1)
		put(b, 1, 600, 100, 2, 0)
		b[avail+2] = 1
	}))
	f.Add(uint64(allFeatures), uint16(0xffff), seed(func(b []byte) { // indices at the wrap
		put(b, 0, 512, 32, 4, 0)
		put(b[512:], 0, 700, 8, 1, 1)
		put(b[512:], 1, 800, 8, 2, 0)
		b[avail+2] = 3
	}))
	f.Add(uint64(allFeatures), uint16(0), seed(func(b []byte) { // buffers over the rings
		put(b, 0, avail, 64, 3, 1)
		put(b, 1, used, 64, 2, 0)
		b[avail+2] = 8
	}))
	f.Add(uint64(allFeatures), uint16(0), seed(func(b []byte) { // loops
		put(b, 0, 0, 128, 4, 0)
		put(b, 1, 0, 1, 1, 1)
		b[avail+2] = 2
		b[avail+6] = 1
	}))
	f.Fuzz(func(t *testing.T, features uint64, at uint16, content []byte) {
		g := vqtest.NewGuest(t, memory)
		setup := g.NewQueue(2, 0).Setup // for its eventfds
		setup.Size, setup.Desc, setup.Driver, setup.Device = size, desc, avail, used
		setup.NextAvail, setup.NextUsed = at, at
		dev, err := virtqueue.New(g.Memory, 0, setup, features, size)
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Stop()
		copy(g.Bytes(0, memory), content)
		c := dev.NewChain()
		for range 4 * size {
			ok, err := dev.Pop(c)
			if err != nil {
				var typed *virtqueue.Error
				if !errors.As(err, &typed) {
					t.Fatalf("error of another type: %v", err)
				}
				return
			}
			if !ok {
				return
			}
			total := len(c.Readable) + len(c.Writable)
			if total == 0 || total > size || c.Head >= size {
				t.Fatalf("chain of %d segments at head %d", total, c.Head)
			}
			for _, seg := range append(c.Readable, c.Writable...) {
				if len(seg) == 0 || len(seg) > memory {
					t.Fatalf("segment of %d bytes", len(seg))
				}
			}
			// What is written may be the rings themselves.
			for _, seg := range c.Writable {
				seg[0]++
				seg[len(seg)-1] ^= 0x55
			}
			dev.Push(c.Head, uint32(virtqueue.Len(c.Writable)))
			if err := dev.Publish(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
