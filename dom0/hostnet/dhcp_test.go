package hostnet

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func ack(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ip(text string) net.IP { return net.ParseIP(text).To4() }

func TestParseACK(t *testing.T) {
	addr := netip.MustParseAddr
	prefix := netip.MustParsePrefix
	yours := dhcpv4.WithYourIP(ip("192.0.2.5"))
	mask := dhcpv4.WithNetmask(net.CIDRMask(24, 32))
	hour := dhcpv4.WithLeaseTime(3600)
	router := dhcpv4.WithRouter(ip("192.0.2.1"))
	defaultRoute := []route{{prefix("0.0.0.0/0"), addr("192.0.2.1")}}
	cases := []struct {
		name string
		ack  *dhcpv4.DHCPv4
		want lease
	}{
		{"usual", ack(t, yours, mask, hour, router, dhcpv4.WithDNS(ip("192.0.2.53"), ip("0.0.0.0"), ip("192.0.2.54"))),
			lease{address: prefix("192.0.2.5/24"), routes: defaultRoute, dns: []netip.Addr{addr("192.0.2.53"), addr("192.0.2.54")}, renew: 30 * time.Minute, expire: time.Hour}},
		{"bare", ack(t, yours), lease{address: prefix("192.0.2.5/24"), renew: 30 * time.Minute, expire: time.Hour}},
		{"too short", ack(t, yours, mask, dhcpv4.WithLeaseTime(1)), lease{address: prefix("192.0.2.5/24"), renew: 30 * time.Second, expire: time.Minute}},
		{"for ever", ack(t, yours, mask, dhcpv4.WithLeaseTime(0xffffffff)), lease{address: prefix("192.0.2.5/24"), renew: longestLease / 2, expire: longestLease}},
		{"own time to renew", ack(t, yours, mask, hour, dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(10*time.Minute))),
			lease{address: prefix("192.0.2.5/24"), renew: 10 * time.Minute, expire: time.Hour}},
		{"renewed after the end", ack(t, yours, mask, hour, dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(2*time.Hour))),
			lease{address: prefix("192.0.2.5/24"), renew: 30 * time.Minute, expire: time.Hour}},
		{"router that cannot be", ack(t, yours, mask, hour, dhcpv4.WithRouter(ip("255.255.255.255"), ip("192.0.2.1"))),
			lease{address: prefix("192.0.2.5/24"), routes: defaultRoute, renew: 30 * time.Minute, expire: time.Hour}},
		{"classless routes win", ack(t, yours, mask, hour, router, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			&dhcpv4.Route{Dest: &net.IPNet{IP: ip("198.51.100.0"), Mask: net.CIDRMask(24, 32)}, Router: ip("192.0.2.2")},
			&dhcpv4.Route{Dest: &net.IPNet{IP: ip("192.0.2.3"), Mask: net.CIDRMask(32, 32)}, Router: ip("0.0.0.0")},
		))), lease{address: prefix("192.0.2.5/24"), routes: []route{{prefix("198.51.100.0/24"), addr("192.0.2.2")}, {prefix("192.0.2.3/32"), netip.Addr{}}},
			renew: 30 * time.Minute, expire: time.Hour}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseACK(c.ack)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(lease{}, route{}),
				cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("lease (-want +got):\n%s", diff)
			}
		})
	}
	for name, bad := range map[string]*dhcpv4.DHCPv4{
		"no address": ack(t, mask),
		"broadcast":  ack(t, dhcpv4.WithYourIP(ip("255.255.255.255")), mask),
		"multicast":  ack(t, dhcpv4.WithYourIP(ip("224.0.0.1")), mask),
		"loopback":   ack(t, dhcpv4.WithYourIP(ip("127.0.0.1")), mask),
		"mask of 0":  ack(t, yours, dhcpv4.WithNetmask(net.IPv4Mask(0, 0, 0, 0))),
		"holey mask": ack(t, yours, dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0))),
	} {
		if got, err := parseACK(bad); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

// FuzzParseACK checks that no answer makes the client fail or take an address
// that a host cannot have.
func FuzzParseACK(f *testing.F) {
	f.Add(ack(f, dhcpv4.WithYourIP(ip("192.0.2.5")), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(ip("192.0.2.1"))).ToBytes())
	f.Add(ack(f, dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{33, 1, 2, 3, 4, 5, 6, 7, 8, 9})).ToBytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		l, err := parseACK(m)
		if err != nil {
			return
		}
		if !l.address.IsValid() || !l.address.Addr().Is4() || l.renew <= 0 || l.renew >= l.expire || l.expire < shortestLease || l.expire > longestLease {
			t.Fatalf("%+v", l)
		}
		for _, r := range l.routes {
			if !r.to.IsValid() || r.via.IsValid() && !r.via.Is4() {
				t.Fatalf("%+v", l)
			}
		}
		l.gateway()
	})
}

func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := writeResolvConf(file, []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "nameserver 192.0.2.53\nnameserver 192.0.2.54\n" {
		t.Errorf("%q, %v", text, err)
	}
}
