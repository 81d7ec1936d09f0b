//go:build kvmhost

package net

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// testType is the EtherType of the tests' own frames (IEEE 802, local
// experimental), to tell them from what the kernel sends by itself.
const testType = 0x88b5

// tapRig is a device on a real tap, with a packet socket on the host's side.
type tapRig struct {
	*testing.T
	dev    *Device
	host   int // packet socket with virtio-net headers of 10 bytes
	guest  *vqtest.Guest
	rx, tx *vqtest.Queue
	tr     *vqtest.Transport
}

var tapCount int

// openTestTap makes a tap and returns it and its name.
func openTestTap(t *testing.T, flags uint16) (fd int, name string) {
	t.Helper()
	tapCount++
	name = fmt.Sprintf("gztest%d", tapCount)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal("TUNSETIFF: ", err)
	}
	return fd, name
}

// hostSide brings the interface up and opens a packet socket on it.
func hostSide(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		t.Fatal("SIOCGIFFLAGS: ", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal("SIOCSIFFLAGS: ", err)
	}
	link, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		t.Fatal("PACKET_VNET_HDR: ", err)
	}
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func newTapRig(t *testing.T, useVhost bool, features uint64) *tapRig {
	t.Helper()
	r := &tapRig{T: t, guest: vqtest.NewGuest(t, 8<<20)}
	tap, name := openTestTap(t, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	r.host = hostSide(t, name)
	c := Config{Name: "virtio-net0", Tap: tap, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	if useVhost {
		fd, err := unix.Open("/dev/vhost-net", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.Vhost = vhost.Open(fd)
	}
	var err error
	if r.dev, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.dev.Reset()
		if err := r.dev.Close(); err != nil {
			t.Error(err)
		}
		if n := r.dev.counters.stopErrors.Load(); n != 0 {
			t.Errorf("%d errors on the way to a reset", n)
		}
	})
	r.rx, r.tx = r.guest.NewQueue(queueSize, features), r.guest.NewQueue(queueSize, features)
	r.activate(features)
	return r
}

func (r *tapRig) activate(features uint64) {
	r.Helper()
	if lacking := features &^ r.dev.Features(); lacking != 0 {
		r.Fatalf("features %#x are not offered", lacking)
	}
	r.tr = r.guest.NewTransport(features, r.rx, r.tx)
	if err := r.dev.Activate(r.tr.Activation); err != nil {
		r.Fatal(err)
	}
}

// ethernet is an Ethernet header of the given type.
func ethernet(etherType uint16) []byte {
	h := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0}
	binary.BigEndian.PutUint16(h[12:], etherType)
	return h
}

func testFrame(n int, seed byte) []byte {
	b := ethernet(testType)
	for i := len(b); i < n; i++ {
		b = append(b, byte(i)*5+seed)
	}
	return b
}

// tcpFrame is a TCP segment over IPv4 with n bytes of data whose TCP checksum
// holds the pseudo header's sum only, as a frame to be segmented has it.
func tcpFrame(n int) []byte {
	b := ethernet(0x0800)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(40+n))
	copy(ip[12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip)))
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp[0:], 4000)
	binary.BigEndian.PutUint16(tcp[2:], 4001)
	tcp[12], tcp[13] = 5<<4, 0x10 // ACK
	binary.BigEndian.PutUint16(tcp[16:], fold(sum(ip[12:])+6+uint32(20+n)))
	b = append(append(b, ip...), tcp...)
	for i := range n {
		b = append(b, byte(i*11))
	}
	return b
}

func sum(b []byte) (s uint32) {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// tcpChecksumOK verifies the checksum of a TCP/IPv4 frame.
func tcpChecksumOK(frame []byte) bool {
	ip := frame[ethernetHeader:]
	n := int(binary.BigEndian.Uint16(ip[2:])) - 20
	return fold(sum(ip[12:20])+6+uint32(n)+sum(ip[20:20+n])) == 0xffff
}

// large is the header of a frame made by tcpFrame.
func large() []byte {
	h := header(flagNeedsCsum, gsoTCPv4, 54, 1000, 34, 16)
	return h[:]
}

func is(etherType uint16, frame []byte) bool {
	return len(frame) >= ethernetHeader && binary.BigEndian.Uint16(frame[12:]) == etherType
}

// hostSends sends a frame into the tap from the host.
func (r *tapRig) hostSends(h, frame []byte) {
	r.Helper()
	if _, err := unix.Write(r.host, append(append([]byte(nil), h[:10]...), frame...)); err != nil {
		r.Fatal(err)
	}
}

// hostReceives returns the next frame of the type that came out of the tap, and
// its header.
func (r *tapRig) hostReceives(etherType uint16) (h, frame []byte) {
	r.Helper()
	b := make([]byte, 1<<17)
	for {
		n, from, err := unix.Recvfrom(r.host, b, 0)
		if err != nil {
			r.Fatal(err)
		}
		if ll := from.(*unix.SockaddrLinklayer); ll.Pkttype == unix.PACKET_OUTGOING {
			continue // what the test or the kernel sent the other way
		}
		if n >= 10 && is(etherType, b[10:n]) {
			return b[:10], b[10:n]
		}
	}
}

func (r *tapRig) guestSends(h, frame []byte) {
	r.Helper()
	ha, fa := r.guest.Put(h[:headerBytes]), r.guest.Put(frame)
	r.tx.Do(vqtest.Buffer{Addr: ha, Len: headerBytes}, vqtest.Buffer{Addr: fa, Len: uint32(len(frame))})
}

// receiveBuffers keeps n buffers of size bytes up and takes frames from them.
type receiveBuffers struct {
	r      *tapRig
	size   int
	byHead map[uint32]uint64
}

func (r *tapRig) receiveBuffers(n, size int) *receiveBuffers {
	r.Helper()
	rb := &receiveBuffers{r, size, map[uint32]uint64{}}
	for range n {
		rb.put(r.guest.Alloc(size))
	}
	r.rx.Kick()
	return rb
}

func (rb *receiveBuffers) put(addr uint64) {
	head := rb.r.rx.Add(vqtest.Buffer{Addr: addr, Len: uint32(rb.size), Writable: true})
	rb.byHead[uint32(head)] = addr
}

// next returns the next frame of the type and its header, and refills.
func (rb *receiveBuffers) next(etherType uint16) (h, frame []byte) {
	rb.r.Helper()
	for {
		var b []byte
		for n := 1; n > 0; n-- {
			u := rb.r.rx.WaitUsed()
			addr := rb.byHead[u.ID]
			b = append(b, rb.r.guest.Bytes(addr, int(u.Len))...)
			if len(b) == int(u.Len) { // the first buffer of the frame
				n = int(binary.LittleEndian.Uint16(b[headerNumBuffers:]))
			}
			rb.put(addr)
		}
		rb.r.rx.Kick()
		if is(etherType, b[headerBytes:]) {
			return b[:headerBytes], b[headerBytes:]
		}
	}
}

// eachPath runs a test over both data paths.
func eachPath(t *testing.T, test func(t *testing.T, useVhost bool)) {
	t.Run("user", func(t *testing.T) { test(t, false) })
	t.Run("vhost", func(t *testing.T) { test(t, true) })
}

const (
	ringFeatures = virtio.FeatureEventIdx | virtio.FeatureIndirectDesc
	offloads     = featureCsum | featureGuestCsum | featureHostTSO4 | featureGuestTSO4
)

func TestTapBothWays(t *testing.T) {
	eachPath(t, func(t *testing.T, useVhost bool) {
		for _, features := range []uint64{0, featureMrgRxbuf | ringFeatures} {
			r := newTapRig(t, useVhost, features)
			rb := r.receiveBuffers(32, 2048)
			var plain [headerBytes]byte
			for i := range 50 {
				want := testFrame(60+i*20, byte(i))
				r.guestSends(plain[:], want)
				if _, got := r.hostReceives(testType); !bytes.Equal(got, want) {
					t.Fatalf("features %#x, frame %d: host received %d bytes", features, i, len(got))
				}
				r.hostSends(plain[:], want)
				h, got := rb.next(testType)
				// vhost-net before Linux 6.14 leaves the number 0 for a driver that does not
				// merge, and which therefore does not look.
				merges := features&featureMrgRxbuf != 0
				if !bytes.Equal(got, want) || h[headerNumBuffers] != 1 && (merges || !useVhost) {
					t.Fatalf("features %#x, frame %d: guest received %d bytes, header % x", features, i, len(got), h)
				}
			}
			if c := r.dev.Counters(); !useVhost && (c["tx_frames"] != 50 || c["rx_frames"] < 50) {
				t.Errorf("counters %v", c)
			}
		}
	})
}

func TestTapLargeFrames(t *testing.T) {
	eachPath(t, func(t *testing.T, useVhost bool) {
		r := newTapRig(t, useVhost, featureMrgRxbuf|ringFeatures|offloads)
		rb := r.receiveBuffers(64, 2048)
		want := tcpFrame(40000)
		r.guestSends(large(), want)
		h, got := r.hostReceives(0x0800)
		if !bytes.Equal(got, want) || h[headerGSOType] != gsoTCPv4 {
			t.Errorf("host received %d bytes, header % x", len(got), h)
		}
		r.hostSends(large(), want)
		h, got = rb.next(0x0800)
		if !bytes.Equal(got, want) || h[headerGSOType] != gsoTCPv4 || h[headerNumBuffers] < 20 {
			t.Errorf("guest received %d bytes, header % x", len(got), h)
		}
	})
}

// A guest that takes no large frames gets segments with whole checksums.
func TestTapSegmentsForAPlainGuest(t *testing.T) {
	eachPath(t, func(t *testing.T, useVhost bool) {
		r := newTapRig(t, useVhost, featureMrgRxbuf|ringFeatures)
		rb := r.receiveBuffers(64, 2048)
		whole := tcpFrame(5000)
		r.hostSends(large(), whole)
		var data []byte
		for len(data) < 5000 {
			h, got := rb.next(0x0800)
			if len(got) > 1054 || h[headerGSOType] != gsoNone || h[headerFlags]&flagNeedsCsum != 0 || !tcpChecksumOK(got) {
				t.Fatalf("segment of %d bytes, header % x, checksum %v", len(got), h, tcpChecksumOK(got))
			}
			data = append(data, got[54:]...)
		}
		if !bytes.Equal(data, whole[54:]) {
			t.Errorf("segments hold %d bytes of other data", len(data))
		}
	})
}

// After a reset the rings are no longer touched, and a new activation works.
func TestTapResetAndResume(t *testing.T) {
	eachPath(t, func(t *testing.T, useVhost bool) {
		const features = featureMrgRxbuf | ringFeatures
		r := newTapRig(t, useVhost, features)
		var plain [headerBytes]byte
		for range 3 {
			rb := r.receiveBuffers(8, 2048)
			want := testFrame(200, 1)
			r.hostSends(plain[:], want)
			rb.next(testType)
			r.guestSends(plain[:], want)
			r.hostReceives(testType)
			r.dev.Reset()
			before := append([]byte(nil), r.guest.Bytes(r.rx.Setup.Device, int(r.rx.Setup.Size)*8+6)...)
			r.hostSends(plain[:], want)
			if !bytes.Equal(before, r.guest.Bytes(r.rx.Setup.Device, len(before))) {
				t.Error("the used ring changed after a reset")
			}
			// First as a restored guest goes on, then as a fresh driver does.
			r.rx.Setup.NextAvail, r.rx.Setup.NextUsed = r.dev.Position(queueReceive)
			r.tx.Setup.NextAvail, r.tx.Setup.NextUsed = r.dev.Position(queueTransmit)
			r.activate(features)
			if _, got := rb.next(testType); !bytes.Equal(got, want) {
				t.Errorf("after going on: %d bytes", len(got))
			}
			r.guestSends(plain[:], want)
			r.hostReceives(testType)
			r.dev.Reset()
			r.rx.Restart()
			r.tx.Restart()
			r.activate(features)
		}
	})
}

func TestTapBrokenRing(t *testing.T) {
	eachPath(t, func(t *testing.T, useVhost bool) {
		r := newTapRig(t, useVhost, ringFeatures)
		r.guest.PutDescriptor(r.tx.Setup.Desc, 0, vqtest.Buffer{Addr: 0, Len: 100}, 1, 0xfff0)
		r.tx.AddHead(0)
		r.tx.ForceKick()
		<-r.tr.Failed()
	})
}

func TestTapRefused(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for name, flags := range map[string]uint16{
		"no virtio-net header": unix.IFF_TAP | unix.IFF_NO_PI,
		"tun":                  unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR,
	} {
		fd, _ := openTestTap(t, flags)
		if _, err := New(Config{Name: "virtio-net0", Tap: fd, MAC: mac}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		unix.Close(fd)
	}
	fd, _ := openTestTap(t, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	defer unix.Close(fd)
	for name, c := range map[string]Config{
		"short MAC":     {Tap: fd, MAC: mac[:5]},
		"long MAC":      {Tap: fd, MAC: append(mac, 0, 0)},
		"multicast MAC": {Tap: fd, MAC: net.HardwareAddr{1, 0, 0, 0, 0, 1}},
		"tiny MTU":      {Tap: fd, MAC: mac, MTU: 67},
		"no tap":        {Tap: notATap(t), MAC: mac},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// One vhost instance serves one device.
func TestVhostWithAnOwnerIsRefused(t *testing.T) {
	fd, _ := openTestTap(t, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	defer unix.Close(fd)
	vfd, err := unix.Open("/dev/vhost-net", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	v := vhost.Open(vfd)
	defer v.Close()
	if err := v.SetOwner(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Tap: fd, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Vhost: v}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("vhost with an owner: %v", err)
	}
}

// notATap is a descriptor that is no tap.
func notATap(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestTapConfigAndState(t *testing.T) {
	fd, _ := openTestTap(t, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	d, err := New(Config{Name: "virtio-net0", Tap: fd, MAC: net.HardwareAddr{2, 3, 4, 5, 6, 7}, MTU: 9000})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 16)
	d.ReadConfig(0, b)
	if want := []byte{2, 3, 4, 5, 6, 7, 1, 0, 1, 0, 0x28, 0x23, 0, 0, 0, 0}; !bytes.Equal(b, want) {
		t.Errorf("config % x, want % x", b, want)
	}
	if d.Features()&featureMTU == 0 {
		t.Error("MTU is not offered")
	}
	raw, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Restore(raw); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", `{"version":9}`, `{"version":1,"mac":"02:03:04:05:06:08","mtu":9000}`, `{"version":1,"mac":"02:03:04:05:06:07"}`} {
		if d.Restore([]byte(bad)) == nil {
			t.Errorf("restored from %q", bad)
		}
	}
}
