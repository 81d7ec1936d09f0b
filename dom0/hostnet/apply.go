package hostnet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"gozen/dom0/netif"

	"github.com/google/renameio/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks routes as made here, so that old ones are found again
// (values above RTPROT_STATIC are free for programs, uapi/linux/rtnetlink.h).
const routeProtocol = 119

// setRoutes leaves the interface with these routes and no others of ours.
func setRoutes(link netlink.Link, l lease) error {
	index := link.Attrs().Index
	filter := &netlink.Route{LinkIndex: index, Protocol: routeProtocol}
	old, err := netif.Retry(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("reading routes: %w", err)
	}
	var keep []string
	// Routes without a next hop first: the others may need them to reach theirs.
	routes := slices.Clone(l.routes)
	slices.SortStableFunc(routes, func(a, b route) int {
		return boolInt(a.via.IsValid()) - boolInt(b.via.IsValid())
	})
	for _, r := range routes {
		nr := &netlink.Route{LinkIndex: index, Protocol: routeProtocol, Dst: ipNet(r.to), Src: l.address.Addr().AsSlice(), Scope: netlink.SCOPE_LINK}
		if r.via.IsValid() {
			nr.Gw = r.via.AsSlice()
			nr.Scope = netlink.SCOPE_UNIVERSE
			if !l.address.Contains(r.via) {
				nr.Flags = int(netlink.FLAG_ONLINK)
			}
		}
		if err := netlink.RouteReplace(nr); err != nil {
			return fmt.Errorf("route to %s by %s: %w", r.to, r.via, err)
		}
		keep = append(keep, r.to.String())
	}
	for _, o := range old {
		to := "0.0.0.0/0"
		if o.Dst != nil {
			to = o.Dst.String()
		}
		if slices.Contains(keep, to) {
			continue
		}
		if err := netlink.RouteDel(&o); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing route to %s: %w", to, err)
		}
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// removeAddresses takes all IPv4 addresses from an interface, and with them the
// routes.
func removeAddresses(link netlink.Link) error {
	addrs, err := netif.Retry(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	var errs []error
	for _, a := range addrs {
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("taking %s from %s: %w", a.IPNet, link.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// writeResolvConf writes the file that programs look name servers up in.
func writeResolvConf(file string, dns []netip.Addr) error {
	if file == "" {
		return nil
	}
	var text bytes.Buffer
	for _, a := range dns {
		fmt.Fprintf(&text, "nameserver %s\n", a)
	}
	return renameio.WriteFile(file, text.Bytes(), 0o644)
}
