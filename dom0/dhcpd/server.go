package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/iana"
)

// leaseTime is what guests are told; they come back at half of it.
const leaseTime = time.Hour

// Config describes a server.
type Config struct {
	Interface string       // the bridge
	Subnet    netip.Prefix // of the network
	Server    netip.Addr   // the host's own address in it
	Router    bool         // tells guests to use the host as their way out
	Pool      *Pool
	// DNS returns the name servers that guests are told now.
	DNS func() []netip.Addr
	// Known tells whether a MAC address belongs to a guest.
	Known func(net.HardwareAddr) bool
	// Leased, when not nil, is called after a guest has taken its address.
	Leased func(Lease)
	Log    *slog.Logger
}

// Server answers guests.
type Server struct {
	Config
}

// Serve answers until ctx ends, opening its socket again after an error.
func (s *Server) Serve(ctx context.Context) error {
	for {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Log.Warn("dhcp server starts again", "interface", s.Interface, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (s *Server) serve(ctx context.Context) error {
	conn, err := server4.NewIPv4UDPConn(s.Interface, &net.UDPAddr{Port: dhcpv4.ServerPort})
	if err != nil {
		return fmt.Errorf("dhcp: %s: %w", s.Interface, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	buf := make([]byte, 4096) // more than a bridge's frame
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("dhcp: %s: %w", s.Interface, err)
		}
		reply, to := s.packet(buf[:n])
		if reply == nil {
			continue
		}
		if _, err := conn.WriteTo(reply, to); err != nil {
			// The guest asks again; a full transmit queue must not end the server.
			s.Log.Debug("dhcp answer not sent", "to", to, "error", err)
		}
	}
}

// packet turns what a guest sent into an answer and its destination, nil for
// none. A fault in the parser costs that packet only.
func (s *Server) packet(data []byte) (reply []byte, to *net.UDPAddr) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("dhcp packet dropped: the parser failed", "panic", p, "bytes", len(data))
			reply, to = nil, nil
		}
	}()
	req, err := dhcpv4.FromBytes(data)
	if err != nil {
		return nil, nil
	}
	resp := s.answer(req)
	if resp == nil {
		return nil, nil
	}
	to = &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
	// RFC 2131, 4.1: a client that says it has an address gets its answer there.
	// A client without one cannot be asked by ARP yet and hears a broadcast.
	if resp.MessageType() == dhcpv4.MessageTypeAck && !req.ClientIPAddr.IsUnspecified() {
		to.IP = req.ClientIPAddr
	}
	return resp.ToBytes(), to
}

// answer implements the server of RFC 2131, 4.3.
func (s *Server) answer(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	mac := req.ClientHWAddr
	if req.OpCode != dhcpv4.OpcodeBootRequest || req.HWType != iana.HWTypeEthernet || len(mac) != 6 ||
		!req.GatewayIPAddr.IsUnspecified() || !s.Known(mac) {
		return nil
	}
	// Named to another server, or (RFC 2131, 4.3.2) to any.
	if id, ok := addrOf(req.ServerIdentifier()); ok && id != s.Server {
		return nil
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		addr, ok := s.address(mac)
		if !ok {
			return nil
		}
		return s.reply(req, dhcpv4.MessageTypeOffer, addr)
	case dhcpv4.MessageTypeRequest:
		return s.request(req, mac)
	case dhcpv4.MessageTypeInform:
		from, ok := addrOf(req.ClientIPAddr)
		if !ok || !s.Subnet.Contains(from) {
			return nil
		}
		return s.reply(req, dhcpv4.MessageTypeAck, netip.Addr{})
	case dhcpv4.MessageTypeDecline:
		if addr, ok := addrOf(req.RequestedIPAddress()); ok {
			s.Log.Warn("dhcp address declined by the guest: somebody else uses it", "mac", mac, "address", addr)
			s.Pool.Decline(mac, addr)
		}
	}
	// RELEASE changes nothing: the address stays the guest's.
	return nil
}

func (s *Server) request(req *dhcpv4.DHCPv4, mac net.HardwareAddr) *dhcpv4.DHCPv4 {
	want, ok := addrOf(req.RequestedIPAddress())
	if !ok {
		want, ok = addrOf(req.ClientIPAddr) // renewing
	}
	if !ok {
		return nil
	}
	addr, ok := s.address(mac)
	if !ok {
		return nil
	}
	if from, given := addrOf(req.ClientIPAddr); want != addr || given && from != addr {
		return s.reply(req, dhcpv4.MessageTypeNak, netip.Addr{})
	}
	resp := s.reply(req, dhcpv4.MessageTypeAck, addr)
	if resp != nil && s.Leased != nil {
		s.Leased(Lease{MAC: mac.String(), Address: addr})
	}
	return resp
}

func (s *Server) address(mac net.HardwareAddr) (netip.Addr, bool) {
	addr, err := s.Pool.Address(mac)
	if err != nil {
		if !errors.Is(err, ErrFull) {
			s.Log.Error("dhcp lease not given", "mac", mac, "error", err)
		} else {
			s.Log.Warn("dhcp lease not given", "mac", mac, "error", err)
		}
		return netip.Addr{}, false
	}
	return addr, true
}

// reply builds an answer. Without addr it carries no lease.
func (s *Server) reply(req *dhcpv4.DHCPv4, kind dhcpv4.MessageType, addr netip.Addr) *dhcpv4.DHCPv4 {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.Server.AsSlice())),
	}
	if id := req.Options.Get(dhcpv4.OptionClientIdentifier); id != nil { // RFC 6842
		mods = append(mods, dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, id))
	}
	if kind != dhcpv4.MessageTypeNak {
		mods = append(mods, dhcpv4.WithNetmask(net.CIDRMask(s.Subnet.Bits(), 32)))
		if s.Router {
			mods = append(mods, dhcpv4.WithRouter(s.Server.AsSlice()))
		}
		var dns []net.IP
		for _, a := range s.DNS() {
			dns = append(dns, a.AsSlice())
		}
		if len(dns) > 0 {
			mods = append(mods, dhcpv4.WithDNS(dns...))
		}
	}
	if addr.IsValid() {
		mods = append(mods, dhcpv4.WithYourIP(addr.AsSlice()), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
	}
	resp, err := dhcpv4.NewReplyFromRequest(req, mods...)
	if err != nil {
		return nil
	}
	return resp
}

// addrOf returns an IPv4 address that is there and not 0.0.0.0.
func addrOf(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip.To4())
	return addr, ok && !addr.IsUnspecified()
}
