//go:build kvmhost

package guestnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gozen/dom0/firewall"
	"gozen/dom0/netif"
	"gozen/dom0/netif/nstest"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// patience bounds what must happen; blocked bounds what must not.
const (
	patience = 30 * time.Second
	blocked  = 700 * time.Millisecond
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
)

func config(t *testing.T) Config {
	t.Helper()
	t.Cleanup(func() {
		if link, err := netif.ByName("gz0"); err == nil {
			_ = netlink.LinkDel(link)
		}
		_ = firewall.NFTables{}.Remove()
	})
	return Config{
		Bridge: "gz0", Subnet: netip.MustParsePrefix("10.77.0.0/24"),
		LeaseFile: filepath.Join(t.TempDir(), "leases.json"),
		DNS:       func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.9")} },
		Firewall:  firewall.NFTables{},
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func openNetwork(t *testing.T, cfg Config) *Network {
	t.Helper()
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func serve(t *testing.T, n *Network) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Serve(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// guest is the far end of a tap: what a vmm sees.
type guest struct {
	t   *testing.T
	tap *os.File
	mac net.HardwareAddr
}

// vnetHeader is the size of struct virtio_net_hdr, which comes before each frame.
const vnetHeader = 10

func newGuest(t *testing.T, n *Network, name string, mac net.HardwareAddr) *guest {
	t.Helper()
	tap, err := n.NewTap(name, mac)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	return &guest{t, tap, mac}
}

// send writes an Ethernet frame.
func (g *guest) send(from, to net.HardwareAddr, etherType uint16, payload []byte) {
	g.t.Helper()
	frame := make([]byte, vnetHeader, vnetHeader+14+len(payload))
	frame = append(frame, to...)
	frame = append(frame, from...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	if _, err := g.tap.Write(append(frame, payload...)); err != nil {
		g.t.Fatal(err)
	}
}

// receive returns the payload of the next frame that fits. While there is none
// it calls again, if given, every second: what it sends may have been lost.
func (g *guest) receive(etherType uint16, fits func([]byte) bool, again func()) []byte {
	g.t.Helper()
	end := time.Now().Add(patience)
	if again != nil {
		again()
	}
	buf := make([]byte, 4096)
	for {
		limit := end
		if again != nil {
			limit = time.Now().Add(min(time.Second, time.Until(end)))
		}
		if err := g.tap.SetReadDeadline(limit); err != nil {
			g.t.Fatal(err)
		}
		n, err := g.tap.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && again != nil && time.Now().Before(end) {
			again()
			continue
		}
		if err != nil {
			g.t.Fatalf("guest %s waits in vain: %v", g.mac, err)
		}
		frame := buf[vnetHeader:n]
		if len(frame) >= 14 && binary.BigEndian.Uint16(frame[12:]) == etherType && fits(frame[14:]) {
			return bytes.Clone(frame[14:])
		}
	}
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arp is a request or answer of RFC 826.
func arp(op uint16, fromMAC net.HardwareAddr, from string, toMAC net.HardwareAddr, to string) []byte {
	p := []byte{0, 1, 8, 0, 6, 4}
	p = binary.BigEndian.AppendUint16(p, op)
	p = append(append(p, fromMAC...), netip.MustParseAddr(from).AsSlice()...)
	return append(append(p, toMAC...), netip.MustParseAddr(to).AsSlice()...)
}

// udp4 is an IPv4 packet with a UDP datagram, without the optional checksum.
func udp4(from, to netip.Addr, sport, dport uint16, data []byte) []byte {
	p := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	p = append(append(p, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(data)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum&0xffff+sum>>16))
	p = binary.BigEndian.AppendUint16(p, sport)
	p = binary.BigEndian.AppendUint16(p, dport)
	p = binary.BigEndian.AppendUint16(p, uint16(8+len(data)))
	return append(append(p, 0, 0), data...)
}

// dhcp asks for an address and returns it.
func (g *guest) dhcp() netip.Addr {
	g.t.Helper()
	exchange := func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		send := func() {
			g.send(g.mac, broadcast, unix.ETH_P_IP, udp4(netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68, 67, m.ToBytes()))
		}
		var answer *dhcpv4.DHCPv4
		g.receive(unix.ETH_P_IP, func(p []byte) bool {
			if len(p) < 28 || p[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(p[22:]) != 68 {
				return false
			}
			got, err := dhcpv4.FromBytes(p[28:])
			answer = got
			return err == nil && got.TransactionID == m.TransactionID
		}, send)
		return answer
	}
	discover, err := dhcpv4.NewDiscovery(g.mac)
	if err != nil {
		g.t.Fatal(err)
	}
	offer := exchange(discover)
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		g.t.Fatal(err)
	}
	ack := exchange(request)
	if ack.MessageType() != dhcpv4.MessageTypeAck {
		g.t.Fatalf("answer is %s", ack.Summary())
	}
	addr, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	return addr
}

func TestGuestsGetAddressesAndKeepThem(t *testing.T) {
	cfg := config(t)
	leased := make(chan netip.Addr, 10)
	cfg.Leased = func(_ net.HardwareAddr, a netip.Addr) { leased <- a }
	n := openNetwork(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Serve(ctx) }()
	a, b := newGuest(t, n, "gzta", macA), newGuest(t, n, "gztb", macB)
	addrA, addrB := a.dhcp(), b.dhcp()
	if addrA == addrB || !cfg.Subnet.Contains(addrA) || !cfg.Subnet.Contains(addrB) {
		t.Errorf("addresses %s and %s", addrA, addrB)
	}
	if got := <-leased; got != addrA {
		t.Errorf("told %s, leased %s", got, addrA)
	}
	if got, ok := n.Address(macA); !ok || got != addrA {
		t.Errorf("Address says %s", got)
	}
	cancel()
	<-done

	// The daemon starts again: the same bridge, the guests' taps untouched.
	before, err := netif.ByName("gz0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Ports = []Port{{Tap: "gzta", MAC: macA}, {Tap: "gztb", MAC: macB}, {Tap: "gztgone", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0xc}}}
	n = openNetwork(t, cfg)
	serve(t, n)
	after, err := netif.ByName("gz0")
	if err != nil {
		t.Fatal(err)
	}
	if before.Attrs().Index != after.Attrs().Index || !bytes.Equal(before.Attrs().HardwareAddr, after.Attrs().HardwareAddr) {
		t.Error("the bridge was made anew")
	}
	if got := a.dhcp(); got != addrA {
		t.Errorf("%s became %s", addrA, got)
	}
	if n.known(net.HardwareAddr{2, 0, 0, 0, 0, 0xc}) {
		t.Error("a guest whose tap is gone is served")
	}
	// A guest ends; another is started with the same interface.
	if err := a.tap.Close(); err != nil {
		t.Fatal(err)
	}
	n.Remove("gzta")
	if got := newGuest(t, n, "gzta", macA).dhcp(); got != addrA {
		t.Errorf("%s became %s at the next start", addrA, got)
	}
}

func TestGuestsSendAsThemselvesOnly(t *testing.T) {
	n := openNetwork(t, config(t))
	serve(t, n)
	a, b := newGuest(t, n, "gzta", macA), newGuest(t, n, "gztb", macB)
	host := n.Host().Addr().String()
	other := net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
	none := make(net.HardwareAddr, 6)
	const ra = 134
	ip6 := append([]byte{0x60, 0, 0, 0, 0, 8, unix.IPPROTO_ICMPV6, 255}, make([]byte, 32)...)
	addrA, addrB := netip.MustParseAddr("10.77.0.10"), netip.MustParseAddr("10.77.0.11")
	// Everything that must not pass, each marked by what b would see first.
	a.send(other, broadcast, unix.ETH_P_ARP, arp(1, other, "10.77.0.10", none, "10.77.0.66"))
	a.send(macA, broadcast, unix.ETH_P_ARP, arp(1, other, "10.77.0.10", none, "10.77.0.66"))
	a.send(macA, broadcast, unix.ETH_P_ARP, arp(2, macA, host, none, "10.77.0.66"))
	a.send(macA, macB, unix.ETH_P_IP, udp4(n.Host().Addr(), addrB, 1000, 1000, []byte("as host")))
	a.send(macA, macB, unix.ETH_P_IP, udp4(addrA, addrB, 67, 68, []byte("as dhcp server")))
	a.send(macA, macB, unix.ETH_P_IPV6, append(ip6, ra, 0, 0, 0, 0, 0, 0, 0))
	// What may pass comes after all that by the same way.
	a.send(macA, macB, unix.ETH_P_IP, udp4(addrA, addrB, 1000, 1000, []byte("as itself")))
	var seen []string
	b.tapEach(func(etherType uint16, from net.HardwareAddr, payload []byte) bool {
		if !bytes.Equal(from, macA) && !bytes.Equal(from, other) {
			return false // the bridge's own
		}
		seen = append(seen, fmt.Sprintf("%#x %q", etherType, payload))
		return bytes.HasSuffix(payload, []byte("as itself"))
	})
	if len(seen) != 1 {
		t.Errorf("the neighbour saw %d frames: %q", len(seen), seen)
	}
	// The host's address is the host's.
	a.send(macA, broadcast, unix.ETH_P_ARP, arp(1, macA, "10.77.0.10", none, host))
	reply := a.receive(unix.ETH_P_ARP, func(p []byte) bool { return binary.BigEndian.Uint16(p[6:]) == 2 }, nil)
	bridge, err := netif.ByName("gz0")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(reply[8:14], bridge.Attrs().HardwareAddr) {
		t.Errorf("the host's address is at %x", reply[8:14])
	}
	if _, err := n.NewTap("gztc", macB); err == nil {
		t.Error("one MAC address was given to two guests")
	}
	if _, err := n.NewTap("gzta", macB); err == nil {
		t.Error("one tap was given to two guests")
	}
	for _, name := range []string{"", "a-name-that-is-too-long", "gz%d/"} {
		if _, err := n.NewTap(name, net.HardwareAddr{2, 0, 0, 0, 0, 0xd}); err == nil {
			t.Errorf("tap %q was made", name)
		}
	}
}

// tapEach gives every frame to fn until it returns true.
func (g *guest) tapEach(fn func(etherType uint16, from net.HardwareAddr, payload []byte) bool) {
	g.t.Helper()
	if err := g.tap.SetReadDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := g.tap.Read(buf)
		if err != nil {
			g.t.Fatal(err)
		}
		if f := buf[vnetHeader:n]; len(f) >= 14 && fn(binary.BigEndian.Uint16(f[12:]), bytes.Clone(f[6:12]), bytes.Clone(f[14:])) {
			return
		}
	}
}

// world is the host between a guest (with a whole network stack) and a machine
// outside.
type world struct {
	guest, outside *nstest.Machine
}

func newWorld(t *testing.T, n *Network) world {
	t.Helper()
	w := world{nstest.NewMachine(t), nstest.NewMachine(t)}
	nstest.Cable(t, "up0", w.outside, "eth0", nil)
	if err := nstest.Address("up0", "192.0.2.1/24"); err != nil {
		t.Fatal(err)
	}
	w.outside.Do(t, func() error {
		return errors.Join(nstest.Address("eth0", "192.0.2.9/24"), nstest.Gateway("192.0.2.1"))
	})
	nstest.Cable(t, "gztv", w.guest, "eth0", macA)
	w.guest.Do(t, func() error {
		return errors.Join(nstest.Address("eth0", "10.77.0.10/24"), nstest.Gateway("10.77.0.1"))
	})
	bridge, err := netif.ByName("gz0")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.plug(Port{Tap: "gztv", MAC: macA}, bridge); err != nil {
		t.Fatal(err)
	}
	return w
}

// listenOn answers each connection with the address it came from, then echoes.
func listenOn(t *testing.T, m *nstest.Machine, address string) {
	t.Helper()
	var ln net.Listener
	open := func() (err error) {
		ln, err = net.Listen("tcp4", address)
		return err
	}
	if m == nil {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	} else {
		m.Do(t, open)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				from, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
				fmt.Fprintf(conn, "%-15s", from)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}

// dial connects from a machine and returns what listenOn says first.
func dial(m *nstest.Machine, address string, timeout time.Duration) (conn net.Conn, from string, err error) {
	err = m.Try(func() (err error) {
		conn, err = net.DialTimeout("tcp4", address, timeout)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 15)
	_, err = io.ReadFull(conn, b)
	return conn, string(bytes.TrimSpace(b)), err
}

func reaches(t *testing.T, m *nstest.Machine, address, as string) net.Conn {
	t.Helper()
	conn, from, err := dial(m, address, patience)
	if err != nil {
		t.Fatalf("%s is out of reach: %v", address, err)
	}
	t.Cleanup(func() { conn.Close() })
	if from != as {
		t.Errorf("%s sees %s, want %s", address, from, as)
	}
	return conn
}

func reachesNot(t *testing.T, m *nstest.Machine, address string) {
	t.Helper()
	if conn, from, err := dial(m, address, blocked); err == nil {
		conn.Close()
		t.Errorf("%s was reached as %s", address, from)
	}
}

func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Fatalf("echo %q, %v", b, err)
	}
}

func TestWhatGuestsReach(t *testing.T) {
	cfg := config(t)
	n := openNetwork(t, cfg)
	w := newWorld(t, n)
	listenOn(t, w.outside, "192.0.2.9:7777")
	listenOn(t, w.guest, "10.77.0.10:7777")
	listenOn(t, nil, ":8443")

	conn := reaches(t, w.guest, "192.0.2.9:7777", "192.0.2.1") // hidden behind the host
	reaches(t, w.outside, "192.0.2.1:8443", "192.0.2.9")       // the API, from where admins are
	reachesNot(t, w.guest, "10.77.0.1:8443")
	reachesNot(t, w.guest, "192.0.2.1:8443")
	reachesNot(t, w.outside, "10.77.0.10:7777")

	// The daemon starts again and lets guests use the API: what was connected
	// stays connected.
	cfg.Ports = []Port{{Tap: "gztv", MAC: macA}}
	cfg.AllowTCP = []uint16{8443}
	openNetwork(t, cfg)
	echo(t, conn)
	reaches(t, w.guest, "10.77.0.1:8443", "10.77.0.10")

	cfg.Isolated = true
	cfg.AllowTCP = nil
	openNetwork(t, cfg)
	reachesNot(t, w.guest, "192.0.2.9:7777")
	reachesNot(t, w.guest, "10.77.0.1:8443")
}

func TestOpenMendsWhatIsWrong(t *testing.T) {
	cfg := config(t)
	openNetwork(t, cfg)
	if err := nstest.Address("gz0", "198.51.100.1/24"); err != nil {
		t.Fatal(err)
	}
	link, err := netif.ByName("gz0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	openNetwork(t, cfg)
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != "10.77.0.1/24" {
		t.Errorf("addresses are %v, %v", addrs, err)
	}
	if link, err = netif.ByName("gz0"); err != nil || link.Attrs().RawFlags&unix.IFF_UP == 0 {
		t.Errorf("the bridge is down: %v", err)
	}
	// Something else of that name is not touched.
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	nstest.Cable(t, "gz0", nstest.NewMachine(t), "eth0", nil)
	if _, err := Open(cfg); err == nil {
		t.Error("an interface that is no bridge was taken for the network")
	}
}
