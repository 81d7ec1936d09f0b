package dhcpd

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// newServer serves the interfaces 0 to 9.
func newServer(t testing.TB) (*Server, *[]Lease) {
	t.Helper()
	var leased []Lease
	return &Server{Config{
		Interface: "gz0", Subnet: subnet, Server: server, Router: true, Pool: newPool(t, "", subnet),
		DNS:    func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.53")} },
		Known:  func(m net.HardwareAddr) bool { return len(m) == 6 && bytes.Equal(m[:5], mac(0)[:5]) && m[5] < 10 },
		Leased: func(l Lease) { leased = append(leased, l) },
		Log:    slog.New(slog.DiscardHandler),
	}}, &leased
}

// ask sends a message and returns the answer, decoded, and where it went.
func ask(t testing.TB, s *Server, m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, *net.UDPAddr) {
	t.Helper()
	reply, to := s.packet(m.ToBytes())
	if reply == nil {
		return nil, nil
	}
	got, err := dhcpv4.FromBytes(reply)
	if err != nil {
		t.Fatalf("the answer cannot be read: %v", err)
	}
	return got, to
}

func build(t testing.TB, kind dhcpv4.MessageType, m net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	msg, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(m), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestLease(t *testing.T) {
	s, leased := newServer(t)
	discover, err := dhcpv4.NewDiscovery(mac(1), dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte{1, 2, 3}))
	if err != nil {
		t.Fatal(err)
	}
	offer, to := ask(t, s, discover)
	if offer == nil || offer.MessageType() != dhcpv4.MessageTypeOffer || !to.IP.Equal(net.IPv4bcast) || to.Port != 68 {
		t.Fatalf("offer %v to %v", offer, to)
	}
	if len(*leased) != 0 {
		t.Error("an offer was told as a lease")
	}
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	ack, to := ask(t, s, request)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || !to.IP.Equal(net.IPv4bcast) {
		t.Fatalf("answer %v to %v", ack, to)
	}
	addr, _ := s.Pool.Lookup(mac(1))
	if !ack.YourIPAddr.Equal(addr.AsSlice()) || !ack.YourIPAddr.Equal(offer.YourIPAddr) {
		t.Errorf("offered %s, leased %s, kept %s", offer.YourIPAddr, ack.YourIPAddr, addr)
	}
	if len(*leased) != 1 || (*leased)[0] != (Lease{mac(1).String(), addr}) {
		t.Errorf("told %v", *leased)
	}
	if ack.ServerIdentifier().String() != "10.77.0.1" || ack.Router()[0].String() != "10.77.0.1" ||
		ack.DNS()[0].String() != "192.0.2.53" || ack.SubnetMask().String() != "ffffff00" ||
		ack.IPAddressLeaseTime(0) != leaseTime || ack.TransactionID != request.TransactionID {
		t.Errorf("answer is %s", ack.Summary())
	}
	if !bytes.Equal(offer.Options.Get(dhcpv4.OptionClientIdentifier), []byte{1, 2, 3}) {
		t.Error("the client's identifier was not returned")
	}
	// Renewing goes to the address itself.
	renew, err := dhcpv4.NewRenewFromAck(ack)
	if err != nil {
		t.Fatal(err)
	}
	ack, to = ask(t, s, renew)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || !to.IP.Equal(addr.AsSlice()) {
		t.Errorf("renewal: %v to %v", ack, to)
	}
}

func TestIsolatedNetworkHasNoWayOut(t *testing.T) {
	s, _ := newServer(t)
	s.Router = false
	s.DNS = func() []netip.Addr { return nil }
	offer, _ := ask(t, s, build(t, dhcpv4.MessageTypeDiscover, mac(1)))
	if offer == nil || offer.Router() != nil || offer.DNS() != nil {
		t.Errorf("offer is %v", offer)
	}
}

func TestAnswers(t *testing.T) {
	ip := func(text string) net.IP { return net.ParseIP(text).To4() }
	requested := func(text string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(text))) }
	toServer := func(text string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(text)))
	}
	s, _ := newServer(t)
	a, err := s.Pool.Address(mac(1))
	if err != nil {
		t.Fatal(err)
	}
	own := a.String()
	const none = dhcpv4.MessageTypeNone
	cases := []struct {
		name string
		msg  *dhcpv4.DHCPv4
		want dhcpv4.MessageType
	}{
		{"after a reboot", build(t, dhcpv4.MessageTypeRequest, mac(1), requested(own)), dhcpv4.MessageTypeAck},
		{"wrong address", build(t, dhcpv4.MessageTypeRequest, mac(1), requested("10.77.0.1")), dhcpv4.MessageTypeNak},
		{"other network", build(t, dhcpv4.MessageTypeRequest, mac(1), requested("192.0.2.1")), dhcpv4.MessageTypeNak},
		{"renewing another's address", build(t, dhcpv4.MessageTypeRequest, mac(1), dhcpv4.WithClientIP(ip("192.0.2.1"))), dhcpv4.MessageTypeNak},
		{"two addresses", build(t, dhcpv4.MessageTypeRequest, mac(1), requested(own), dhcpv4.WithClientIP(ip("192.0.2.1"))), dhcpv4.MessageTypeNak},
		{"no address", build(t, dhcpv4.MessageTypeRequest, mac(1)), none},
		{"another server", build(t, dhcpv4.MessageTypeRequest, mac(1), requested(own), toServer("10.77.0.9")), none},
		{"stranger", build(t, dhcpv4.MessageTypeDiscover, mac(77)), none},
		{"group address", build(t, dhcpv4.MessageTypeDiscover, net.HardwareAddr{1, 0, 0, 0, 0, 1}), none},
		{"short address", build(t, dhcpv4.MessageTypeDiscover, net.HardwareAddr{2, 0}), none},
		{"relayed", build(t, dhcpv4.MessageTypeDiscover, mac(1), dhcpv4.WithGatewayIP(ip("192.0.2.1"))), none},
		{"no ethernet", build(t, dhcpv4.MessageTypeDiscover, mac(1), dhcpv4.WithHWType(iana.HWTypeIEEE802)), none},
		{"an answer", build(t, dhcpv4.MessageTypeDiscover, mac(1), func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }), none},
		{"release", build(t, dhcpv4.MessageTypeRelease, mac(1), dhcpv4.WithClientIP(ip(own))), none},
		{"inform", build(t, dhcpv4.MessageTypeInform, mac(1), dhcpv4.WithClientIP(ip("10.77.0.99"))), dhcpv4.MessageTypeAck},
		{"inform from elsewhere", build(t, dhcpv4.MessageTypeInform, mac(1), dhcpv4.WithClientIP(ip("192.0.2.1"))), none},
		{"no kind", build(t, none, mac(1)), none},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, to := ask(t, s, c.msg)
			kind := none
			if got != nil {
				kind = got.MessageType()
			}
			if kind != c.want {
				t.Fatalf("answer is %s, want %s", kind, c.want)
			}
			if kind == dhcpv4.MessageTypeNak && (!to.IP.Equal(net.IPv4bcast) || !got.YourIPAddr.IsUnspecified()) {
				t.Errorf("refusal %s to %s", got.Summary(), to)
			}
			if c.msg.MessageType() == dhcpv4.MessageTypeInform && got != nil &&
				(!got.YourIPAddr.IsUnspecified() || got.IPAddressLeaseTime(0) != 0) {
				t.Errorf("information with a lease: %s", got.Summary())
			}
		})
	}
	if after, ok := s.Pool.Lookup(mac(1)); !ok || after != a {
		t.Errorf("the guest's address became %s", after)
	}
	if n := len(s.Pool.Leases()); n != 1 {
		t.Errorf("%d leases, want 1", n)
	}
}

func TestDeclined(t *testing.T) {
	s, _ := newServer(t)
	first, _ := ask(t, s, build(t, dhcpv4.MessageTypeDiscover, mac(1)))
	if got, _ := ask(t, s, build(t, dhcpv4.MessageTypeDecline, mac(1), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(first.YourIPAddr)))); got != nil {
		t.Errorf("a decline was answered: %s", got.Summary())
	}
	second, _ := ask(t, s, build(t, dhcpv4.MessageTypeDiscover, mac(1)))
	if second.YourIPAddr.Equal(first.YourIPAddr) {
		t.Error("a declined address was offered again")
	}
}

// panicWatch notices that the server caught a panic.
type panicWatch struct {
	slog.Handler
	failed *bool
}

func (panicWatch) Enabled(context.Context, slog.Level) bool { return true }

func (w panicWatch) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		*w.failed = *w.failed || a.Key == "panic"
		return true
	})
	return nil
}

// FuzzPacket checks that nothing a guest sends makes the server fail, answer
// strangers, hand out addresses to them, or send outside its network.
func FuzzPacket(f *testing.F) {
	discover, err := dhcpv4.NewDiscovery(mac(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(discover.ToBytes())
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease} {
		f.Add(build(f, kind, mac(2), dhcpv4.WithClientIP(net.IP{10, 77, 0, 9}), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{10, 77, 0, 9}))).ToBytes())
	}
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _ := newServer(t)
		failed := false
		s.Log = slog.New(panicWatch{failed: &failed})
		reply, to := s.packet(data)
		if failed {
			t.Fatal("the parser panicked")
		}
		for _, l := range s.Pool.Leases() {
			if m, err := ParseMAC(l.MAC); err != nil || !s.Known(m) {
				t.Fatalf("a lease for a stranger: %+v", l)
			}
		}
		if reply == nil {
			return
		}
		if _, err := dhcpv4.FromBytes(reply); err != nil {
			t.Fatalf("the answer cannot be read: %v", err)
		}
		dest, ok := netip.AddrFromSlice(to.IP.To4())
		if !ok || to.Port != 68 || dest != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && !subnet.Contains(dest) {
			t.Fatalf("an answer to %s", to)
		}
	})
}
