package virtqueue_test

import (
	"bytes"
	"errors"
	"testing"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
	"gozen/pvdrivers/virtqueue/vqtest"
)

const allFeatures = virtio.FeatureEventIdx | virtio.FeatureIndirectDesc

func newPair(t testing.TB, size uint16, features uint64) (*vqtest.Guest, *vqtest.Queue, *virtqueue.Queue) {
	t.Helper()
	g := vqtest.NewGuest(t, 1<<20)
	drv := g.NewQueue(size, features)
	return g, drv, open(t, g, drv, features)
}

func open(t testing.TB, g *vqtest.Guest, drv *vqtest.Queue, features uint64) *virtqueue.Queue {
	t.Helper()
	dev, err := virtqueue.New(g.Memory, 0, drv.Setup, features, int(drv.Setup.Size))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Stop)
	return dev
}

func mustPop(t testing.TB, q *virtqueue.Queue, c *virtqueue.Chain) {
	t.Helper()
	if ok, err := q.Pop(c); !ok || err != nil {
		t.Fatalf("Pop: %v, %v", ok, err)
	}
}

func TestChainsInBothForms(t *testing.T) {
	for name, add := range map[string]func(*vqtest.Queue, ...vqtest.Buffer) uint16{
		"direct":   (*vqtest.Queue).Add,
		"indirect": (*vqtest.Queue).AddIndirect,
	} {
		t.Run(name, func(t *testing.T) {
			g, drv, dev := newPair(t, 8, allFeatures)
			in := g.Alloc(100)
			head := add(drv,
				vqtest.Buffer{Addr: g.Put([]byte("hello ")), Len: 6},
				vqtest.Buffer{Addr: g.Put([]byte("ring")), Len: 4},
				vqtest.Buffer{Addr: in, Len: 3, Writable: true},
				vqtest.Buffer{Addr: in + 3, Len: 97, Writable: true})
			c := dev.NewChain()
			mustPop(t, dev, c)
			got := make([]byte, 20)
			if n := virtqueue.CopyOut(got, c.Readable); string(got[:n]) != "hello ring" {
				t.Errorf("read %q", got[:n])
			}
			if n := virtqueue.Len(c.Writable); n != 100 {
				t.Errorf("writable %d bytes", n)
			}
			if n := virtqueue.CopyIn(c.Writable, []byte("answer")); n != 6 || string(g.Bytes(in, 6)) != "answer" {
				t.Errorf("wrote %d bytes: %q", n, g.Bytes(in, 6))
			}
			dev.Push(c.Head, 6)
			if _, ok := drv.TryUsed(); ok {
				t.Error("the driver sees a chain before Publish")
			}
			if err := dev.Publish(); err != nil {
				t.Fatal(err)
			}
			if u := drv.WaitUsed(); u != (vqtest.Used{ID: uint32(head), Len: 6}) {
				t.Errorf("used %+v", u)
			}
			if ok, err := dev.Pop(c); ok || err != nil {
				t.Errorf("a second chain: %v %v", ok, err)
			}
		})
	}
}

// Direct descriptors may come before an indirect one (virtio 1.2, 2.7.5.3.2).
func TestDirectThenIndirect(t *testing.T) {
	g, drv, dev := newPair(t, 8, allFeatures)
	table := g.Alloc(16)
	g.PutDescriptor(table, 0, vqtest.Buffer{Addr: g.Alloc(8), Len: 8, Writable: true}, 0, 0)
	g.PutDescriptor(drv.Setup.Desc, 0, vqtest.Buffer{Addr: g.Put([]byte("x")), Len: 1}, 1, 5)
	g.PutDescriptor(drv.Setup.Desc, 5, vqtest.Buffer{Addr: table, Len: 16}, 4, 0)
	drv.AddHead(0)
	c := dev.NewChain()
	mustPop(t, dev, c)
	if len(c.Readable) != 1 || len(c.Writable) != 1 || len(c.Writable[0]) != 8 {
		t.Errorf("readable %d, writable %d", len(c.Readable), len(c.Writable))
	}
}

func TestHostileChains(t *testing.T) {
	const size = 8
	const next, indirect = 1, 4
	type desc struct {
		i           int
		b           vqtest.Buffer
		flags, next uint16
	}
	ok := vqtest.Buffer{Addr: 0, Len: 16}
	for _, c := range []struct {
		name     string
		features uint64
		descs    []desc
		head     uint16
		table    []desc // an indirect table at tableAddr
		want     error
	}{
		{name: "head outside", head: size, want: virtqueue.ErrHead},
		{name: "head far outside", head: 0xffff, want: virtqueue.ErrHead},
		{name: "next outside", descs: []desc{{0, ok, next, size}}, want: virtqueue.ErrNext},
		{name: "loop on itself", descs: []desc{{0, ok, next, 0}}, want: virtqueue.ErrTooLong},
		{name: "loop of two", descs: []desc{{0, ok, next, 1}, {1, ok, next, 0}}, want: virtqueue.ErrTooLong},
		{name: "zero length", descs: []desc{{0, vqtest.Buffer{}, 0, 0}}, want: virtqueue.ErrZeroLength},
		{name: "outside memory", descs: []desc{{0, vqtest.Buffer{Addr: 1 << 40, Len: 1}, 0, 0}}, want: guestmem.ErrOutOfRange},
		{name: "4 GiB in all", descs: []desc{
			{0, ok, next, 1}, {1, vqtest.Buffer{Len: 0xffffffff}, 0, 0}}, want: virtqueue.ErrTooMany},
		{name: "into the hole", descs: []desc{{0, vqtest.Buffer{Addr: 0, Len: 0xffffffff}, 0, 0}}, want: guestmem.ErrOutOfRange},
		{name: "address wraps", descs: []desc{{0, vqtest.Buffer{Addr: ^uint64(0), Len: 2}, 0, 0}}, want: guestmem.ErrOutOfRange},
		{name: "readable after writable", descs: []desc{
			{0, vqtest.Buffer{Len: 1, Writable: true}, next, 1}, {1, ok, 0, 0}}, want: virtqueue.ErrOrder},
		{name: "indirect not negotiated", descs: []desc{{0, ok, indirect, 0}}, want: virtqueue.ErrIndirect},
		{name: "indirect with next", features: allFeatures, descs: []desc{{0, ok, indirect | next, 1}}, want: virtqueue.ErrIndirectNext},
		{name: "empty table", features: allFeatures, descs: []desc{{0, vqtest.Buffer{}, indirect, 0}}, want: virtqueue.ErrIndirectTable},
		{name: "ragged table", features: allFeatures, descs: []desc{{0, vqtest.Buffer{Len: 24}, indirect, 0}}, want: virtqueue.ErrIndirectTable},
		{name: "table outside", features: allFeatures, descs: []desc{{0, vqtest.Buffer{Addr: 1 << 40, Len: 16}, indirect, 0}}, want: guestmem.ErrOutOfRange},
		{name: "nested table", features: allFeatures, table: []desc{{0, ok, indirect, 0}}, want: virtqueue.ErrNested},
		{name: "next outside the indirect table", features: allFeatures, table: []desc{{0, ok, next, 1}}, want: virtqueue.ErrNext},
		{name: "loop in the indirect table", features: allFeatures, table: []desc{{0, ok, next, 0}}, want: virtqueue.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, drv, dev := newPair(t, size, c.features)
			if c.table != nil {
				addr := g.Alloc(16 * len(c.table))
				for _, d := range c.table {
					g.PutDescriptor(addr, d.i, d.b, d.flags, d.next)
				}
				g.PutDescriptor(drv.Setup.Desc, 0, vqtest.Buffer{Addr: addr, Len: uint32(16 * len(c.table))}, indirect, 0)
			}
			for _, d := range c.descs {
				g.PutDescriptor(drv.Setup.Desc, d.i, d.b, d.flags, d.next)
			}
			drv.AddHead(c.head)
			ok, err := dev.Pop(dev.NewChain())
			var typed *virtqueue.Error
			if ok || !errors.Is(err, c.want) || !errors.As(err, &typed) {
				t.Errorf("Pop: %v, %v; want %v", ok, err, c.want)
			}
		})
	}
}

func TestChainAsLongAsAllowed(t *testing.T) {
	g, drv, dev := newPair(t, 4, allFeatures)
	b := vqtest.Buffer{Addr: g.Alloc(1), Len: 1}
	drv.AddIndirect(b, b, b, b)
	drv.AddIndirect(b, b, b, b, b)
	c := dev.NewChain()
	mustPop(t, dev, c)
	if len(c.Readable) != 4 {
		t.Errorf("%d descriptors", len(c.Readable))
	}
	if _, err := dev.Pop(c); !errors.Is(err, virtqueue.ErrTooLong) {
		t.Errorf("one more: %v", err)
	}
}

func TestAvailableIndexJump(t *testing.T) {
	for jump, want := range map[uint16]error{4: nil, 5: virtqueue.ErrAvailJump, 0x8000: virtqueue.ErrAvailJump, 0xffff: virtqueue.ErrAvailJump} {
		g, drv, dev := newPair(t, 4, 0)
		g.PutDescriptor(drv.Setup.Desc, 0, vqtest.Buffer{Len: 1}, 0, 0)
		drv.SetAvail(jump)
		if _, err := dev.Pop(dev.NewChain()); !errors.Is(err, want) {
			t.Errorf("jump of %d: %v, want %v", jump, err, want)
		}
	}
}

func TestBadRings(t *testing.T) {
	g := vqtest.NewGuest(t, 1<<16)
	good := g.NewQueue(8, 0).Setup
	for name, change := range map[string]func(*virtio.Queue){
		"no size":               func(q *virtio.Queue) { q.Size = 0 },
		"size no power of two":  func(q *virtio.Queue) { q.Size = 6 },
		"misaligned table":      func(q *virtio.Queue) { q.Desc += 8 },
		"misaligned available":  func(q *virtio.Queue) { q.Driver++ },
		"misaligned used":       func(q *virtio.Queue) { q.Device += 2 },
		"table outside":         func(q *virtio.Queue) { q.Desc = 1 << 40 },
		"available runs out":    func(q *virtio.Queue) { q.Driver = 1<<16 - 2 },
		"used outside":          func(q *virtio.Queue) { q.Device = 1 << 63 },
		"kick is no descriptor": func(q *virtio.Queue) { q.KickFD = -1 },
	} {
		q := good
		change(&q)
		if vq, err := virtqueue.New(g.Memory, 0, q, 0, 8); err == nil {
			vq.Stop()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIndicesWrap(t *testing.T) {
	for _, features := range []uint64{0, allFeatures} {
		g, drv, dev := newPair(t, 2, features)
		c := dev.NewChain()
		b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
		for i := range 70000 {
			head := drv.Add(b)
			mustPop(t, dev, c)
			dev.Push(c.Head, 0)
			if err := dev.Publish(); err != nil {
				t.Fatal(err)
			}
			if u, ok := drv.TryUsed(); !ok || u.ID != uint32(head) {
				t.Fatalf("round %d: %+v %v", i, u, ok)
			}
		}
	}
}

func TestUnpop(t *testing.T) {
	g, drv, dev := newPair(t, 8, allFeatures)
	b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
	heads := []uint16{drv.Add(b), drv.Add(b), drv.Add(b)}
	c := dev.NewChain()
	for range heads {
		mustPop(t, dev, c)
	}
	dev.Unpop(2)
	for _, want := range heads[1:] {
		if mustPop(t, dev, c); c.Head != want {
			t.Errorf("head %d, want %d", c.Head, want)
		}
	}
	if avail, used := dev.Position(); avail != 3 || used != 0 {
		t.Errorf("position %d, %d", avail, used)
	}
}

func TestSegments(t *testing.T) {
	make3 := func() [][]byte { return [][]byte{[]byte("ab"), []byte("cde"), []byte("f")} }
	for n := range 7 {
		if got := bytes.Join(virtqueue.Skip(make3(), n), nil); string(got) != "abcdef"[n:] {
			t.Errorf("Skip %d: %q", n, got)
		}
		if got := bytes.Join(virtqueue.Truncate(make3(), n), nil); string(got) != "abcdef"[:n] {
			t.Errorf("Truncate %d: %q", n, got)
		}
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	g, drv, dev := newPair(t, 8, allFeatures)
	b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
	g.PutDescriptor(drv.Setup.Desc, 0, b, 1, 1)
	g.PutDescriptor(drv.Setup.Desc, 1, vqtest.Buffer{Addr: b.Addr, Len: 4, Writable: true}, 0, 0)
	c := dev.NewChain()
	if n := testing.AllocsPerRun(1000, func() {
		drv.AddHead(0)
		drv.ForceKick()
		if ok, err := dev.Pop(c); !ok || err != nil {
			t.Fatal(err)
		}
		dev.Push(c.Head, 4)
		if dev.Publish() != nil || dev.Await() != nil {
			t.Fatal("publish or await")
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestStopEndsAwait(t *testing.T) {
	_, _, dev := newPair(t, 8, allFeatures)
	ended := make(chan error)
	go func() { ended <- dev.Await() }()
	dev.Stop()
	if err := <-ended; !errors.Is(err, eventfd.ErrClosed) || !dev.Stopped() {
		t.Errorf("Await: %v", err)
	}
	if err := dev.Await(); !errors.Is(err, eventfd.ErrClosed) {
		t.Errorf("Await after Stop: %v", err)
	}
}
