//go:build kvmhost

package vhost

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

func open(t *testing.T, name string) *Device {
	t.Helper()
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	d := Open(fd)
	t.Cleanup(func() { d.Close() })
	return d
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	ok(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// A driver by hand: one ring in guest memory.
const (
	ringSize  = 4
	descAddr  = 0x1000
	availAddr = 0x2000
	usedAddr  = 0x3000
	dataAddr  = 0x4000
)

const features = virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

func queue(t *testing.T, at uint64) virtio.Queue {
	return virtio.Queue{
		Size: ringSize, Desc: at + descAddr, Driver: at + availAddr, Device: at + usedAddr,
		KickFD: eventfd(t), CallFD: eventfd(t),
	}
}

func prepare(t *testing.T, d *Device, m *guestmem.Memory) {
	t.Helper()
	ok(t, d.SetOwner())
	have, err := d.Features()
	ok(t, err)
	if have&features != features {
		t.Fatalf("the kernel has features %#x, want %#x among them", have, features)
	}
	ok(t, d.SetFeatures(features))
	if err := d.SetFeatures(1 << 63); !errors.Is(err, ErrNoFeature) {
		t.Errorf("an unknown feature: %v", err)
	}
	if _, err := d.BackendFeatures(); err != nil {
		t.Error(err)
	}
	ok(t, d.SetMemory(m))
	if err := d.SetOwner(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second owner: %v", err)
	}
}

// wait blocks until the eventfd is signalled.
func wait(t *testing.T, fd int) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 60_000)
		if err == unix.EINTR {
			continue
		}
		ok(t, err)
		if n == 0 {
			t.Fatal("the kernel did not signal")
		}
		return
	}
}

func kick(t *testing.T, fd int) {
	t.Helper()
	_, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	ok(t, err)
}

// offer makes descriptor 0 available: length bytes at addr.
func offer(t *testing.T, m *guestmem.Memory, addr uint64, length uint32) {
	t.Helper()
	le := binary.LittleEndian
	b, err := m.Slice(0, 0x10000)
	ok(t, err)
	le.PutUint64(b[descAddr:], addr)
	le.PutUint32(b[descAddr+8:], length)
	le.PutUint32(b[descAddr+12:], 0) // read by the device, last
	idx := le.Uint16(b[availAddr+2:])
	le.PutUint16(b[availAddr+4+2*(idx%ringSize):], 0)
	le.PutUint16(b[availAddr+2:], idx+1)
}

// newTap makes a tap device for vhost-net.
func newTap(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	ok(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq("vhosttest%d")
	ok(t, err)
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	ok(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	ok(t, unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, 12))
	up, err := unix.NewIfreq(ifr.Name())
	ok(t, err)
	up.SetUint16(unix.IFF_UP)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(s)
	ok(t, unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, up))
	return fd
}

// The kernel takes a frame from the transmit queue, stops, and goes on at the
// same place in another instance.
func TestNetTransmitsStopsAndGoesOn(t *testing.T) {
	m := newMemory(t, guestmem.Region{Size: 0x10000})
	tap := newTap(t)
	const transmit = 1
	next := uint16(0)
	for round := range 3 {
		d := open(t, "/dev/vhost-net")
		prepare(t, d, m)
		q := queue(t, 0)
		q.NextAvail = next
		ok(t, d.SetQueue(transmit, m, q))
		ok(t, d.SetQueueError(transmit, eventfd(t)))
		ok(t, d.SetNetBackend(transmit, tap))
		offer(t, m, dataAddr, 12+60) // header and a frame, all zero
		kick(t, q.KickFD)
		wait(t, q.CallFD)
		ok(t, d.SetNetBackend(transmit, NoFile))
		base, err := d.QueueBase(transmit)
		ok(t, err)
		b, err := m.Slice(usedAddr, 4)
		ok(t, err)
		used := binary.LittleEndian.Uint16(b[2:])
		if want := uint16(round + 1); base != want || used != want {
			t.Fatalf("round %d: the kernel is at %d, has used %d; want %d", round, base, used, want)
		}
		next = base
		ok(t, d.Close())
	}
}

// A descriptor outside guest memory is reported by the error eventfd, and the
// kernel lives.
func TestNetReportsBadAddress(t *testing.T) {
	m := newMemory(t, guestmem.Region{Size: 0x10000})
	d := open(t, "/dev/vhost-net")
	prepare(t, d, m)
	q := queue(t, 0)
	broken := eventfd(t)
	ok(t, d.SetQueue(1, m, q))
	ok(t, d.SetQueueError(1, broken))
	ok(t, d.SetNetBackend(1, newTap(t)))
	offer(t, m, 0xffff_0000_0000, 100)
	kick(t, q.KickFD)
	wait(t, broken)
	ok(t, d.SetNetBackend(1, NoFile))
}

func TestQueueOutsideMemory(t *testing.T) {
	m := newMemory(t, guestmem.Region{Size: 0x10000})
	d := open(t, "/dev/vhost-net")
	prepare(t, d, m)
	if err := d.SetQueue(0, m, queue(t, 0x100000)); !errors.Is(err, guestmem.ErrOutOfRange) {
		t.Errorf("SetQueue: %v", err)
	}
}

func TestVsock(t *testing.T) {
	m := newMemory(t, guestmem.Region{Size: 0x20000})
	d := open(t, "/dev/vhost-vsock")
	prepare(t, d, m)
	for i := range 2 {
		ok(t, d.SetQueue(i, m, queue(t, uint64(i)*0x10000)))
	}
	ok(t, d.SetGuestCID(42))
	if err := d.SetGuestCID(2); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the host's own CID: %v", err)
	}
	ok(t, d.SetRunning(true))

	other := open(t, "/dev/vhost-vsock")
	ok(t, other.SetOwner())
	if err := other.SetGuestCID(42); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a CID that is taken: %v", err)
	}

	ok(t, d.SetRunning(false))
	for i := range 2 {
		if base, err := d.QueueBase(i); err != nil || base != 0 {
			t.Errorf("queue %d of an idle socket device is at %d, %v", i, base, err)
		}
	}
}
