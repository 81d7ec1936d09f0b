package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// Bounds of what a DHCP server may ask for.
const (
	shortestLease = time.Minute
	longestLease  = 30 * 24 * time.Hour
	renewPause    = time.Minute // between attempts, RFC 2131, 4.4.5
	answerTimeout = 4 * time.Second
	attempts      = 4
)

// lease is an address with all that belongs to it.
type lease struct {
	address netip.Prefix
	routes  []route
	dns     []netip.Addr

	renew, expire time.Duration // from when it was given; 0 for fixed addresses
}

type route struct {
	to  netip.Prefix
	via netip.Addr // zero: directly on the interface
}

// gateway returns the next hop of the default route, or the zero value.
func (l lease) gateway() netip.Addr {
	for _, r := range l.routes {
		if r.to.Bits() == 0 {
			return r.via
		}
	}
	return netip.Addr{}
}

// useDHCP asks for an address until ctx ends, and keeps it.
func (u *Uplink) useDHCP(ctx context.Context, link netlink.Link) error {
	name := link.Attrs().Name
	client, err := nclient4.New(name, nclient4.WithHWAddr(link.Attrs().HardwareAddr),
		nclient4.WithTimeout(answerTimeout), nclient4.WithRetry(attempts))
	if err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	defer client.Close()
	for {
		if err := u.hold(ctx, link, client); err != nil {
			return err
		}
		u.release(name)
	}
}

// hold gets one lease and keeps it. It returns nil when the lease is lost and
// the server must be asked for another.
func (u *Uplink) hold(ctx context.Context, link netlink.Link, client *nclient4.Client) error {
	got, err := u.request(ctx, client)
	if err != nil {
		return err
	}
	for {
		l, err := parseACK(got.ACK)
		if err != nil {
			u.problem(fmt.Sprintf("dhcp server %s: %v", got.ACK.ServerIdentifier(), err))
			return pause(ctx, renewPause)
		}
		if err := u.apply(link, l); err != nil {
			return err
		}
		u.cfg.Log.Info("management address", "interface", link.Attrs().Name, "address", l.address,
			"gateway", l.gateway(), "lease", l.expire)
		got, err = u.keep(ctx, client, got, l)
		if err != nil {
			return err
		}
		if got == nil {
			return nil
		}
	}
}

// request asks until a server answers.
func (u *Uplink) request(ctx context.Context, client *nclient4.Client) (*nclient4.Lease, error) {
	for {
		got, err := client.Request(ctx, u.options()...)
		if err == nil {
			return got, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var nak *nclient4.ErrNak
		switch {
		case errors.Is(err, nclient4.ErrNoResponse):
			u.problem("no DHCP server answers; if there is none, give the host an address in the seed (network.mode static)")
		case errors.As(err, &nak):
			u.problem("the DHCP server refuses: " + nak.Nak.Message())
			if err := pause(ctx, retryPause); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("dhcp: %w", err)
		}
	}
}

// keep waits until it is time and renews the lease. It returns nil when the
// lease is lost.
func (u *Uplink) keep(ctx context.Context, client *nclient4.Client, got *nclient4.Lease, l lease) (*nclient4.Lease, error) {
	if err := pause(ctx, time.Until(got.CreationTime.Add(l.renew))); err != nil {
		return nil, err
	}
	end := got.CreationTime.Add(l.expire)
	for time.Now().Before(end) {
		attempt, cancel := context.WithDeadline(ctx, end)
		renewed, err := client.Renew(attempt, got, u.options()...)
		cancel()
		if err == nil {
			return renewed, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var nak *nclient4.ErrNak
		if errors.As(err, &nak) {
			u.cfg.Log.Warn("the DHCP server takes the address back", "address", l.address)
			return nil, nil
		}
		u.cfg.Log.Warn("the DHCP server does not renew the address", "address", l.address, "until", end, "error", err)
		if err := pause(ctx, min(renewPause, time.Until(end))); err != nil {
			return nil, err
		}
	}
	u.cfg.Log.Warn("the address has expired", "address", l.address)
	return nil, nil
}

func (u *Uplink) options() []dhcpv4.Modifier {
	mods := []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionClasslessStaticRoute)}
	if u.cfg.Hostname != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(u.cfg.Hostname)))
	}
	return mods
}

// parseACK takes what is usable from a server's answer. Anybody on the network
// can have written it.
func parseACK(ack *dhcpv4.DHCPv4) (lease, error) {
	addr, ok := hostAddr(ack.YourIPAddr)
	if !ok {
		return lease{}, fmt.Errorf("%v is no address for a host", ack.YourIPAddr)
	}
	mask := ack.SubnetMask()
	if mask == nil {
		mask = net.IP(addr.AsSlice()).DefaultMask()
	}
	ones, bits := mask.Size()
	if bits != 32 || ones == 0 {
		return lease{}, fmt.Errorf("%v is no subnet mask", mask)
	}
	l := lease{address: netip.PrefixFrom(addr, ones)}
	for _, r := range ack.ClasslessStaticRoute() {
		ones, bits := r.Dest.Mask.Size()
		to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		if !ok || bits != 32 {
			continue
		}
		via, _ := hostAddr(r.Router) // 0.0.0.0: directly on the interface (RFC 3442)
		l.routes = append(l.routes, route{netip.PrefixFrom(to, ones).Masked(), via})
	}
	if len(l.routes) == 0 { // RFC 3442: the older option counts only without the newer
		for _, ip := range ack.Router() {
			if via, ok := hostAddr(ip); ok {
				l.routes = []route{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), via}}
				break
			}
		}
	}
	for _, ip := range ack.DNS() {
		if a, ok := hostAddr(ip); ok {
			l.dns = append(l.dns, a)
		}
	}
	l.expire = min(max(ack.IPAddressLeaseTime(time.Hour), shortestLease), longestLease)
	l.renew = ack.IPAddressRenewalTime(l.expire / 2)
	if l.renew <= 0 || l.renew >= l.expire {
		l.renew = l.expire / 2
	}
	return l, nil
}

// hostAddr returns an IPv4 address that a host can have.
func hostAddr(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip.To4())
	if !ok || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, false
	}
	return addr, true
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
