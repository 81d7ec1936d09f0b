package net

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// rig runs the user data path with a driver on one side and a socket in place of
// the tap on the other: both carry one frame with its header a call. What only a
// tap does is tested with one, in the tests that need root.
type rig struct {
	*testing.T
	dev    *Device
	path   *userPath
	wire   int // the other end of the socket
	guest  *vqtest.Guest
	rx, tx *vqtest.Queue
	tr     *vqtest.Transport
}

func newRig(t *testing.T, features uint64) *rig {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(ends[0])
		unix.Close(ends[1])
	})
	r := &rig{T: t, dev: &Device{name: "virtio-net0", tap: ends[0], mtu: 1500}, wire: ends[1], guest: vqtest.NewGuest(t, 4<<20)}
	r.rx, r.tx = r.guest.NewQueue(queueSize, features), r.guest.NewQueue(queueSize, features)
	r.activate(features)
	t.Cleanup(func() { r.dev.Reset() })
	return r
}

func (r *rig) activate(features uint64) {
	r.Helper()
	r.tr = r.guest.NewTransport(features, r.rx, r.tx)
	p, err := newUserPath(r.dev, r.tr.Activation)
	if err != nil {
		r.Fatal(err)
	}
	if err := p.start(); err != nil {
		r.Fatal(err)
	}
	r.path, r.dev.active = p.(*userPath), p
}

// frame is a frame of n bytes behind a plain header.
func frame(n int, seed byte) []byte {
	b := make([]byte, headerBytes+n)
	for i := range n {
		b[headerBytes+i] = byte(i)*3 + byte(i>>8) + seed
	}
	return b
}

// arrive puts a frame, header included, on the wire.
func (r *rig) arrive(b []byte) {
	r.Helper()
	if _, err := unix.Write(r.wire, b); err != nil {
		r.Fatal(err)
	}
}

// sent takes the next frame off the wire.
func (r *rig) sent() []byte {
	r.Helper()
	b := make([]byte, headerBytes+maxFrame+1)
	n, err := unix.Read(r.wire, b)
	if err != nil {
		r.Fatal(err)
	}
	return b[:n]
}

// transmit sends b, header included, cut into descriptors of the given sizes and
// a last one with the rest.
func (r *rig) transmit(b []byte, cuts ...int) {
	r.Helper()
	addr := r.guest.Put(b)
	var bufs []vqtest.Buffer
	for _, n := range append(cuts, len(b)) {
		n = min(n, len(b))
		bufs = append(bufs, vqtest.Buffer{Addr: addr, Len: uint32(n)})
		addr, b = addr+uint64(n), b[n:]
		if len(b) == 0 {
			break
		}
	}
	if u := r.tx.Do(bufs...); u.Len != 0 {
		r.Errorf("transmit buffer came back with length %d", u.Len)
	}
}

// buffer puts up a receive buffer of n bytes in descriptors of the given sizes
// and one with the rest, and returns its address.
func (r *rig) buffer(n int, cuts ...int) uint64 {
	r.Helper()
	addr := r.guest.Alloc(n)
	at := addr
	var bufs []vqtest.Buffer
	for _, c := range append(cuts, n) {
		c = min(c, n-int(at-addr))
		bufs = append(bufs, vqtest.Buffer{Addr: at, Len: uint32(c), Writable: true})
		if at += uint64(c); at == addr+uint64(n) {
			break
		}
	}
	r.rx.Add(bufs...)
	r.rx.Kick()
	return addr
}

func (r *rig) counter(name string) uint64 { return r.dev.Counters()[name] }

func TestTransmit(t *testing.T) {
	for _, features := range []uint64{0, virtio.FeatureEventIdx | virtio.FeatureIndirectDesc} {
		r := newRig(t, features)
		for i, cuts := range [][]int{nil, {headerBytes}, {5, 5, 5, 1}, {headerBytes + 1, 100}} {
			b := frame(200+i, byte(i))
			r.transmit(b, cuts...)
			if got := r.sent(); !bytes.Equal(got, b) {
				t.Errorf("cuts %v: sent %d bytes, equal %v", cuts, len(got), false)
			}
		}
		if f, n := r.counter("tx_frames"), r.counter("tx_bytes"); f != 4 || n != 200+201+202+203 {
			t.Errorf("counters: %d frames, %d bytes", f, n)
		}
	}
}

func TestTransmitDropsAndGoesOn(t *testing.T) {
	r := newRig(t, featureCsum|featureHostTSO4|featureMTU)
	large := frame(9000, 1)
	h := header(flagNeedsCsum, gsoTCPv4, 54, 1448, 34, 16)
	copy(large, h[:])
	unknown := frame(100, 0)
	unknown[headerGSOType] = 9
	for _, b := range [][]byte{
		frame(0, 0)[:4],      // shorter than its header
		frame(13, 0),         // shorter than an Ethernet header
		frame(maxFrame+1, 0), // longer than any
		frame(1519, 0),       // longer than the MTU
		unknown,
	} {
		r.transmit(b)
	}
	r.transmit(large)
	if got := r.sent(); !bytes.Equal(got, large) {
		t.Errorf("sent %d bytes", len(got))
	}
	if s, h := r.counter("tx_dropped_size"), r.counter("tx_dropped_header"); s != 3 || h != 2 {
		t.Errorf("dropped %d for size, %d for header", s, h)
	}
	if err := r.tr.Err(); err != nil {
		t.Error(err)
	}
}

func TestManyFramesWithBackPressure(t *testing.T) {
	r := newRig(t, virtio.FeatureEventIdx)
	const n = 2000 // more than the socket takes at once
	b := frame(1000, 0)
	addr := r.guest.Put(b)
	got := make(chan int)
	go func() {
		count := 0
		for range n {
			if len(r.sent()) == len(b) {
				count++
			}
		}
		got <- count
	}()
	for sent, back := 0, 0; back < n; {
		for sent < n && r.tx.Free() > 0 {
			r.tx.Add(vqtest.Buffer{Addr: addr, Len: uint32(len(b))})
			sent++
		}
		r.tx.Kick()
		r.tx.WaitUsed()
		back++
	}
	if count := <-got; count != n {
		t.Errorf("%d frames arrived", count)
	}
}

func TestReceiveInOneBuffer(t *testing.T) {
	for _, features := range []uint64{0, featureMrgRxbuf, featureMrgRxbuf | virtio.FeatureEventIdx} {
		r := newRig(t, features)
		addr := r.buffer(2048, 3, headerBytes)
		b := frame(1000, 7)
		b[headerNumBuffers] = 0xee
		r.arrive(b)
		u := r.rx.WaitUsed()
		b[headerNumBuffers] = 1
		if got := r.guest.Bytes(addr, len(b)); u.Len != uint32(len(b)) || !bytes.Equal(got, b) {
			t.Errorf("features %#x: used %d, header % x", features, u.Len, got[:headerBytes])
		}
	}
}

func TestReceiveInManyBuffers(t *testing.T) {
	r := newRig(t, featureMrgRxbuf)
	var addrs []uint64
	for range 10 {
		addrs = append(addrs, r.buffer(512, 11, 1, 8)) // the header lies across descriptors
	}
	b := frame(1400, 7)
	r.arrive(b)
	var got []byte
	for i := range 3 {
		u := r.rx.WaitUsed()
		got = append(got, r.guest.Bytes(addrs[i], int(u.Len))...)
	}
	binary.LittleEndian.PutUint16(b[headerNumBuffers:], 3)
	if !bytes.Equal(got, b) {
		t.Errorf("received %d bytes, header % x", len(got), got[:headerBytes])
	}
	if _, more := r.rx.TryUsed(); more {
		t.Error("a buffer too many was used")
	}
}

func TestReceiveWaitsForBuffers(t *testing.T) {
	for _, features := range []uint64{featureMrgRxbuf, featureMrgRxbuf | virtio.FeatureEventIdx} {
		r := newRig(t, features)
		b := frame(1400, 3)
		r.arrive(b)
		var got []byte
		var addrs []uint64
		for range 4 {
			addrs = append(addrs, r.buffer(400))
		}
		for i := range 4 {
			u := r.rx.WaitUsed()
			got = append(got, r.guest.Bytes(addrs[i], int(u.Len))...)
		}
		if !bytes.Equal(got[headerBytes:], b[headerBytes:]) || got[headerNumBuffers] != 4 {
			t.Errorf("received %d bytes", len(got))
		}
		if n := r.counter("rx_dropped_size"); n != 0 {
			t.Errorf("%d dropped", n)
		}
	}
}

func TestReceiveDropsWhatCannotFit(t *testing.T) {
	small := newRig(t, featureMTU) // one buffer a frame
	small.arrive(frame(1000, 1))   // needs more than the buffer has
	small.arrive(frame(1519, 1))   // longer than the MTU
	small.arrive(frame(13, 1))     // no Ethernet header
	small.arrive(frame(0, 1)[:5])  // not even a virtio-net header
	addr := small.buffer(512)
	b := frame(400, 9)
	small.arrive(b)
	u := small.rx.WaitUsed()
	if got := small.guest.Bytes(addr, int(u.Len)); !bytes.Equal(got[headerBytes:], b[headerBytes:]) {
		t.Errorf("received % x…", got[:20])
	}
	if n := small.counter("rx_dropped_size"); n != 4 {
		t.Errorf("%d dropped", n)
	}

	// A frame that all buffers of the ring together do not hold.
	full := newRig(t, featureMrgRxbuf)
	addrs := []uint64{}
	for range queueSize {
		addrs = append(addrs, full.buffer(16))
	}
	full.arrive(frame(16*queueSize, 1))
	full.arrive(frame(20, 2))
	full.rx.WaitUsed()
	full.rx.WaitUsed()
	if got := full.guest.Bytes(addrs[0], 16); got[headerNumBuffers] != 2 || full.counter("rx_dropped_size") != 1 {
		t.Errorf("header % x, %d dropped", got[:headerBytes], full.counter("rx_dropped_size"))
	}
}

func TestHostileBuffers(t *testing.T) {
	for name, breakIt := range map[string]func(*rig){
		"readable receive buffer": func(r *rig) {
			r.rx.Add(vqtest.Buffer{Addr: r.guest.Alloc(2048), Len: 2048})
			r.rx.Kick()
			r.arrive(frame(100, 0))
		},
		"tiny receive buffer": func(r *rig) {
			r.buffer(headerBytes - 1)
			r.arrive(frame(100, 0))
		},
		"writable transmit buffer": func(r *rig) {
			r.tx.Add(vqtest.Buffer{Addr: r.guest.Alloc(2048), Len: 2048, Writable: true})
			r.tx.Kick()
		},
		"transmit from outside memory": func(r *rig) {
			r.tx.Add(vqtest.Buffer{Addr: 1 << 44, Len: 100})
			r.tx.Kick()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, featureMrgRxbuf)
			breakIt(r)
			<-r.tr.Failed()
		})
	}
}

func TestResetWhileWaiting(t *testing.T) {
	r := newRig(t, featureMrgRxbuf)
	r.arrive(frame(100, 0)) // no buffer for it
	r.buffer(50)
	// The transmit side waits too: nobody takes frames off the wire.
	b := frame(1400, 0)
	addr := r.guest.Put(b)
	for range queueSize {
		r.tx.Add(vqtest.Buffer{Addr: addr, Len: uint32(len(b))})
	}
	r.tx.ForceKick()
	r.dev.Reset()
	if avail, used := r.dev.Position(queueReceive); avail != 0 || used != 0 {
		t.Errorf("receive position %d, %d: the buffer was not filled", avail, used)
	}
	avail, used := r.dev.Position(queueTransmit)
	if avail != used {
		t.Errorf("transmit position %d, %d", avail, used)
	}
	for i := range used {
		if _, ok := r.tx.TryUsed(); !ok {
			t.Fatalf("%d frames taken, %d given back", used, i)
		}
	}
	// Where the ring was left, another activation goes on.
	r.tx.Setup.NextAvail, r.tx.Setup.NextUsed = avail, used
	sent := make(chan int)
	go func() {
		n := 0
		for range queueSize {
			r.sent()
			n++
		}
		sent <- n
	}()
	r.activate(featureMrgRxbuf)
	for range queueSize - used {
		r.tx.WaitUsed()
	}
	if n := <-sent; n != queueSize {
		t.Errorf("%d frames sent", n)
	}
}

func TestFramePathsDoNotAllocate(t *testing.T) {
	r := newRig(t, featureMrgRxbuf)
	r.dev.Reset()
	r.rx.Restart()
	r.tx.Restart()
	p, err := newUserPath(r.dev, r.guest.NewTransport(featureMrgRxbuf, r.rx, r.tx).Activation)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	user := p.(*userPath)
	rx := newReceiver(user, user.queues[queueReceive])
	tx, err := newTransmitter(user, user.queues[queueTransmit])
	if err != nil {
		t.Fatal(err)
	}
	b := frame(100, 0)
	r.guest.PutDescriptor(r.rx.Setup.Desc, 0, vqtest.Buffer{Addr: r.guest.Alloc(80), Len: 80, Writable: true}, 0, 0)
	r.guest.PutDescriptor(r.tx.Setup.Desc, 0, vqtest.Buffer{Addr: r.guest.Put(b), Len: uint32(len(b))}, 0, 0)
	drain := make([]byte, 200)
	if n := testing.AllocsPerRun(100, func() {
		r.rx.AddHead(0)
		r.rx.AddHead(0)
		if ok, err := rx.deliver(b); !ok || err != nil {
			t.Fatal(ok, err)
		}
		r.tx.AddHead(0)
		if ok, err := tx.q.Pop(tx.chain); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := tx.send(); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(r.wire, drain); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame each way", n)
	}
}

// FuzzTransmit lets the guest choose a whole frame, its header and its cut.
func FuzzTransmit(f *testing.F) {
	f.Add(uint64(0), frame(60, 1), uint16(12), uint16(20))
	h := header(1, 1, 54, 1448, 34, 16)
	f.Add(uint64(featureCsum|featureHostTSO4), append(h[:], frame(3000, 1)[headerBytes:]...), uint16(1), uint16(1))
	f.Add(uint64(0), []byte{1}, uint16(1), uint16(0))
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		unix.Close(ends[0])
		unix.Close(ends[1])
	})
	dev := &Device{name: "virtio-net0", tap: ends[0], mtu: 1500}
	buf := make([]byte, 1<<17)
	f.Fuzz(func(t *testing.T, features uint64, b []byte, cut1, cut2 uint16) {
		if len(b) == 0 || len(b) > 1<<16 {
			return
		}
		features &^= virtio.FeatureEventIdx
		g := vqtest.NewGuest(t, 256<<10)
		q := g.NewQueue(8, features)
		p, err := newUserPath(dev, g.NewTransport(features, nil, q).Activation)
		if err != nil {
			t.Fatal(err)
		}
		defer p.stop()
		user := p.(*userPath)
		tx, err := newTransmitter(user, user.queues[queueTransmit])
		if err != nil {
			t.Fatal(err)
		}
		addr, rest := g.Put(b), uint32(len(b))
		var bufs []vqtest.Buffer
		for _, n := range []uint32{uint32(cut1), uint32(cut2), rest} {
			if n = min(n, rest); n == 0 {
				continue
			}
			bufs = append(bufs, vqtest.Buffer{Addr: addr, Len: n})
			addr, rest = addr+uint64(n), rest-n
		}
		q.Add(bufs...)
		if ok, err := tx.q.Pop(tx.chain); !ok || err != nil {
			t.Fatal(ok, err)
		}
		before := dev.counters.txFrames.Load()
		if err := tx.send(); err != nil {
			t.Fatal(err)
		}
		if dev.counters.txFrames.Load() == before {
			return
		}
		n, err := unix.Read(ends[1], buf)
		if err != nil || n != len(b) || !bytes.Equal(buf[headerBytes:n], b[headerBytes:]) {
			t.Fatalf("%d bytes left as %d: %v", len(b), n, err)
		}
	})
}
