//go:build kvmhost

package vsock

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// A packet's header (virtio 1.2, section 5.10.6).
const (
	packetBytes = 44

	opRequest  = 1
	opResponse = 2
	opData     = 5
)

const testPort = 1024

const features = virtio.FeatureEventIdx | virtio.FeatureIndirectDesc

type rig struct {
	*testing.T
	dev    *Device
	guest  *vqtest.Guest
	queues [queueCount]*vqtest.Queue
	tr     *vqtest.Transport
	byHead map[uint32]uint64 // receive buffers
}

func openVhost(t *testing.T) *vhost.Device {
	t.Helper()
	fd, err := unix.Open("/dev/vhost-vsock", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return vhost.Open(fd)
}

func newDevice(t *testing.T, cid uint32) *Device {
	t.Helper()
	d, err := New(Config{Name: "virtio-vsock0", Vhost: openVhost(t), CID: cid})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Reset()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if d.counters.stopErrors != 0 {
			t.Errorf("%d errors on the way to a reset", d.counters.stopErrors)
		}
	})
	return d
}

func newRig(t *testing.T, cid uint32) *rig {
	t.Helper()
	r := &rig{T: t, guest: vqtest.NewGuest(t, 1<<20)}
	for i := range r.queues {
		r.queues[i] = r.guest.NewQueue(queueSizes[i], features)
	}
	r.dev = newDevice(t, cid)
	r.activate()
	r.fill()
	return r
}

func (r *rig) activate() {
	r.Helper()
	r.tr = r.guest.NewTransport(features, r.queues[:]...)
	if err := r.dev.Activate(r.tr.Activation); err != nil {
		r.Fatal(err)
	}
}

// fill puts up receive buffers as a driver does.
func (r *rig) fill() {
	r.byHead = map[uint32]uint64{}
	for range 16 {
		r.putReceive(r.guest.Alloc(4096))
	}
}

func (r *rig) putReceive(addr uint64) {
	rx := r.queues[queueReceive]
	head := rx.Add(vqtest.Buffer{Addr: addr, Len: packetBytes, Writable: true},
		vqtest.Buffer{Addr: addr + packetBytes, Len: 4096 - packetBytes, Writable: true})
	r.byHead[uint32(head)] = addr
	rx.Kick()
}

// receive returns the next packet from the host.
func (r *rig) receive() (packet []byte, op uint16) {
	r.Helper()
	u := r.queues[queueReceive].WaitUsed()
	addr := r.byHead[u.ID]
	packet = append(packet, r.guest.Bytes(addr, int(u.Len))...)
	r.putReceive(addr)
	if len(packet) < packetBytes {
		r.Fatalf("packet of %d bytes", len(packet))
	}
	return packet, binary.LittleEndian.Uint16(packet[30:])
}

// answer sends a packet back to where the given one came from.
func (r *rig) answer(to []byte, op uint16, data string) {
	r.Helper()
	p := make([]byte, packetBytes)
	copy(p[0:8], to[8:16]) // source CID
	copy(p[8:16], to[0:8]) // destination CID
	copy(p[16:20], to[20:24])
	copy(p[20:24], to[16:20])
	binary.LittleEndian.PutUint32(p[24:], uint32(len(data)))
	binary.LittleEndian.PutUint16(p[28:], 1) // stream
	binary.LittleEndian.PutUint16(p[30:], op)
	binary.LittleEndian.PutUint32(p[36:], 1<<16) // room for what comes back
	bufs := []vqtest.Buffer{{Addr: r.guest.Put(p), Len: packetBytes}}
	if data != "" {
		bufs = append(bufs, vqtest.Buffer{Addr: r.guest.Put([]byte(data)), Len: uint32(len(data))})
	}
	r.queues[queueTransmit].Do(bufs...)
}

// connect opens a stream from the host to the guest, which the guest accepts. It
// returns the host's socket and the packet that asked for it.
func (r *rig) connect(cid uint32) (int, []byte) {
	r.Helper()
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { unix.Close(fd) })
	// A connect that waits would fail with EINTR at any signal, and the Go runtime
	// sends some.
	if err := unix.SetNonblock(fd, true); err != nil {
		r.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: testPort}); err != unix.EINPROGRESS {
		r.Fatalf("connect: %v, want %v", err, unix.EINPROGRESS)
	}
	for {
		request, op := r.receive()
		if op != opRequest {
			continue // what is left of an earlier connection
		}
		if dst := binary.LittleEndian.Uint64(request[8:]); dst != uint64(cid) {
			r.Errorf("packet for CID %d", dst)
		}
		r.answer(request, opResponse, "")
		r.awaitConnected(fd)
		return fd, request
	}
}

// awaitConnected waits for the end of a connect and makes the socket one that
// waits.
func (r *rig) awaitConnected(fd int) {
	r.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != 1 {
			r.Fatalf("poll: %d, %v", n, err)
		}
		break
	}
	if errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
		r.Fatalf("connect: %v, %v", unix.Errno(errno), err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) talk(fd int, request []byte) {
	r.Helper()
	if _, err := unix.Write(fd, []byte("to the guest")); err != nil {
		r.Fatal(err)
	}
	for {
		packet, op := r.receive()
		if op != opData {
			continue // credit updates
		}
		if got := string(packet[packetBytes:]); got != "to the guest" {
			r.Errorf("guest received %q", got)
		}
		break
	}
	r.answer(request, opData, "to the host")
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	if err != nil || string(b[:n]) != "to the host" {
		r.Errorf("host received %q, %v", b[:max(n, 0)], err)
	}
}

func TestStream(t *testing.T) {
	r := newRig(t, 77)
	r.talk(r.connect(77))
}

func TestResetAndNewDriver(t *testing.T) {
	r := newRig(t, 78)
	for range 3 {
		r.talk(r.connect(78))
		r.dev.Reset()
		for _, q := range r.queues {
			q.Restart()
		}
		r.activate()
		r.fill()
	}
	if n := r.dev.Counters()["transport_resets"]; n != 0 {
		t.Errorf("a new driver was told of %d transport resets", n)
	}
}

func TestRestoreTellsTheDriver(t *testing.T) {
	r := newRig(t, 79)
	r.talk(r.connect(79))
	event := r.guest.Put([]byte{0xee, 0xee, 0xee, 0xee})
	r.queues[queueEvent].Add(vqtest.Buffer{Addr: event, Len: 4, Writable: true})
	r.queues[queueEvent].Kick()
	r.dev.Reset()
	raw, err := r.dev.Save()
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range r.queues {
		q.Setup.NextAvail, q.Setup.NextUsed = r.dev.Position(i)
	}
	if s := r.queues[queueTransmit].Setup; s.NextAvail == 0 || s.NextAvail != s.NextUsed {
		t.Errorf("transmit position %d, %d", s.NextAvail, s.NextUsed)
	}
	r.dev = newDevice(t, 80) // elsewhere, with another CID
	if err := r.dev.Restore(raw); err != nil {
		t.Fatal(err)
	}
	r.activate()
	if u := r.queues[queueEvent].WaitUsed(); u.Len != 4 || binary.LittleEndian.Uint32(r.guest.Bytes(event, 4)) != eventTransportReset {
		t.Errorf("event of %d bytes: % x", u.Len, r.guest.Bytes(event, 4))
	}
	r.talk(r.connect(80))
	// It is told once.
	r.dev.Reset()
	for i, q := range r.queues {
		q.Setup.NextAvail, q.Setup.NextUsed = r.dev.Position(i)
	}
	r.activate()
	r.talk(r.connect(80))
	if n := r.dev.Counters()["transport_resets"]; n != 1 {
		t.Errorf("%d transport resets told", n)
	}
}

func TestCIDInUse(t *testing.T) {
	newDevice(t, 81)
	v := openVhost(t)
	defer v.Close()
	if _, err := New(Config{Name: "virtio-vsock1", Vhost: v, CID: 81}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("same CID twice: %v", err)
	}
}

func TestBrokenRing(t *testing.T) {
	r := newRig(t, 82)
	tx := r.queues[queueTransmit]
	r.guest.PutDescriptor(tx.Setup.Desc, 0, vqtest.Buffer{Len: 100}, 1, 0xfff0)
	tx.AddHead(0)
	tx.ForceKick()
	<-r.tr.Failed()
}

func TestTinyEventBuffer(t *testing.T) {
	r := newRig(t, 83)
	r.dev.Reset()
	r.dev.restored = true
	r.queues[queueEvent].Add(vqtest.Buffer{Addr: r.guest.Alloc(4), Len: 3, Writable: true})
	r.activate()
	<-r.tr.Failed()
}

func TestBadSetup(t *testing.T) {
	d := newDevice(t, 84)
	g := vqtest.NewGuest(t, 1<<16)
	q, big := g.NewQueue(16, features), g.NewQueue(256, features)
	outside := *q
	outside.Setup.Desc = 1 << 50
	for name, queues := range map[string][]*vqtest.Queue{
		"queue too large": {big, q, q},
		"a queue more":    {q, q, q, q},
		"ring outside":    {q, &outside, q},
		"event outside":   {q, q, &outside},
	} {
		if err := d.Activate(g.NewTransport(features, queues...).Activation); err == nil {
			t.Errorf("%s: accepted", name)
		}
		d.Reset()
	}
	// A driver that sets up nothing gets nothing, and no error.
	if err := d.Activate(g.NewTransport(features, nil, nil, nil).Activation); err != nil {
		t.Error(err)
	}
}
