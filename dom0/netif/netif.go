package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ByName finds an interface. When there is none the error is a
// netlink.LinkNotFoundError.
func ByName(name string) (netlink.Link, error) {
	link, err := Retry(func() (netlink.Link, error) { return netlink.LinkByName(name) })
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	return link, nil
}

// Retry repeats a reading of the kernel's tables that a change interrupted.
func Retry[T any](fn func() (T, error)) (T, error) {
	for range 10 {
		v, err := fn()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return v, err
		}
	}
	return fn()
}

// SetAddress leaves the interface with this IPv4 address and no other.
func SetAddress(link netlink.Link, want netip.Prefix) error {
	name := link.Attrs().Name
	addrs, err := Retry(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", name, err)
	}
	ipnet := &net.IPNet{IP: want.Addr().AsSlice(), Mask: net.CIDRMask(want.Bits(), 32)}
	found := false
	for _, a := range addrs {
		if a.IPNet.String() == ipnet.String() {
			found = true
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("taking %s from %s: %w", a.IPNet, name, err)
		}
	}
	if found {
		return nil
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipnet}); err != nil {
		return fmt.Errorf("giving %s to %s: %w", ipnet, name, err)
	}
	return nil
}
