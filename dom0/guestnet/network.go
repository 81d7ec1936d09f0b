package guestnet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"gozen/dom0/dhcpd"
	"gozen/dom0/firewall"
	"gozen/dom0/netif"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config describes a network.
type Config struct {
	Bridge    string       // interface name, "gz0" for the default network
	Subnet    netip.Prefix // the host takes its first address
	Isolated  bool         // no way to the outside
	AllowTCP  []uint16     // ports of the host that guests may reach
	LeaseFile string       // "" keeps leases in memory

	// Ports are those of guests that run already, when the daemon starts again.
	// Taps that are gone are left out.
	Ports []Port

	// DNS returns the name servers that guests are told now.
	DNS func() []netip.Addr
	// Leased, when not nil, is called when a guest has taken its address.
	Leased func(mac net.HardwareAddr, addr netip.Addr)

	Firewall firewall.Firewall
	Log      *slog.Logger
}

// Port is a guest's place on the bridge.
type Port = firewall.Port

// Network is an open network. Its methods may be used from many goroutines.
type Network struct {
	cfg  Config
	host netip.Addr
	pool *dhcpd.Pool

	mu    sync.Mutex
	ports map[string]Port // by tap
}

// Open brings the network up, taking over what is there.
func Open(cfg Config) (*Network, error) {
	host := cfg.Subnet.Masked().Addr().Next()
	pool, err := dhcpd.NewPool(cfg.LeaseFile, cfg.Subnet, host)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", cfg.Bridge, err)
	}
	n := &Network{cfg: cfg, host: host, pool: pool, ports: make(map[string]Port)}
	for _, p := range cfg.Ports {
		if _, err := netif.ByName(p.Tap); err != nil {
			cfg.Log.Warn("tap of a running guest is gone", "tap", p.Tap, "error", err)
			continue
		}
		n.ports[p.Tap] = p
	}
	// The rules come before the first guest can send, and before forwarding.
	if err := n.applyRules(); err != nil {
		return nil, fmt.Errorf("network %s: %w", cfg.Bridge, err)
	}
	bridge, err := n.openBridge()
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", cfg.Bridge, err)
	}
	for _, p := range n.ports {
		if err := join(p.Tap, bridge); err != nil {
			cfg.Log.Warn("tap of a running guest cannot be plugged in", "tap", p.Tap, "error", err)
		}
	}
	if !cfg.Isolated {
		if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
			return nil, fmt.Errorf("network %s: %w", cfg.Bridge, err)
		}
	}
	return n, nil
}

// Host returns the host's address in the network.
func (n *Network) Host() netip.Prefix { return netip.PrefixFrom(n.host, n.cfg.Subnet.Bits()) }

// Serve answers the guests' DHCP requests until ctx ends.
func (n *Network) Serve(ctx context.Context) error {
	s := dhcpd.Server{Config: dhcpd.Config{
		Interface: n.cfg.Bridge, Subnet: n.cfg.Subnet.Masked(), Server: n.host, Router: !n.cfg.Isolated,
		Pool: n.pool, DNS: n.dns, Known: n.known, Leased: n.leased, Log: n.cfg.Log,
	}}
	return s.Serve(ctx)
}

func (n *Network) dns() []netip.Addr {
	if n.cfg.Isolated || n.cfg.DNS == nil {
		return nil // none could be reached
	}
	return n.cfg.DNS()
}

func (n *Network) known(mac net.HardwareAddr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.ports {
		if slices.Equal(p.MAC, mac) {
			return true
		}
	}
	return false
}

func (n *Network) leased(l dhcpd.Lease) {
	if n.cfg.Leased == nil {
		return
	}
	if mac, err := dhcpd.ParseMAC(l.MAC); err == nil {
		n.cfg.Leased(mac, l.Address)
	}
}

// Address returns the address that is kept for a network interface of a guest.
func (n *Network) Address(mac net.HardwareAddr) (netip.Addr, bool) { return n.pool.Lookup(mac) }

// Forget frees the address of a network interface that exists no more.
func (n *Network) Forget(mac net.HardwareAddr) error { return n.pool.Forget(mac) }

// NewTap makes a tap, plugs it in and returns its descriptor, ready for a vmm
// (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR). It is gone when the last descriptor is
// closed; call Remove then. name is an interface name of up to 15 characters.
func (n *Network) NewTap(name string, mac net.HardwareAddr) (*os.File, error) {
	f, err := n.newTap(name, mac)
	if err != nil {
		return nil, fmt.Errorf("network %s: tap %q: %w", n.cfg.Bridge, name, err)
	}
	return f, nil
}

func (n *Network) newTap(name string, mac net.HardwareAddr) (*os.File, error) {
	if len(mac) != 6 || mac[0]&1 != 0 {
		return nil, fmt.Errorf("%q is no MAC address of an interface", mac)
	}
	if _, err := netif.ByName(name); err == nil {
		return nil, errors.New("an interface of this name is there already")
	}
	bridge, err := netif.ByName(n.cfg.Bridge)
	if err != nil {
		return nil, err
	}
	f, err := openTap(name)
	if err != nil {
		return nil, err
	}
	if err := n.plug(Port{Tap: name, MAC: mac}, bridge); err != nil {
		f.Close()
		n.Remove(name)
		return nil, err
	}
	return f, nil
}

// plug makes the rules for a port, then lets it send.
func (n *Network) plug(p Port, bridge netlink.Link) error {
	n.mu.Lock()
	for _, other := range n.ports {
		if other.Tap != p.Tap && slices.Equal(other.MAC, p.MAC) {
			n.mu.Unlock()
			return fmt.Errorf("MAC address %s is in use on tap %s", p.MAC, other.Tap)
		}
	}
	n.ports[p.Tap] = p
	n.mu.Unlock()
	if err := n.applyRules(); err != nil {
		return err
	}
	return join(p.Tap, bridge)
}

// Remove forgets a port whose guest has ended.
func (n *Network) Remove(tap string) {
	n.mu.Lock()
	delete(n.ports, tap)
	n.mu.Unlock()
	if err := n.applyRules(); err != nil {
		// A rule too many names an interface that is gone.
		n.cfg.Log.Warn("firewall not updated", "network", n.cfg.Bridge, "error", err)
	}
}

// applyRules requires that n.mu is free.
func (n *Network) applyRules() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	rules := firewall.Rules{Bridge: n.cfg.Bridge, Subnet: n.cfg.Subnet.Masked(), Host: n.host,
		Isolated: n.cfg.Isolated, AllowTCP: n.cfg.AllowTCP}
	for _, p := range n.ports {
		rules.Ports = append(rules.Ports, p)
	}
	slices.SortFunc(rules.Ports, func(a, b Port) int {
		if a.Tap < b.Tap {
			return -1
		}
		return 1
	})
	return n.cfg.Firewall.Apply(rules)
}

// openBridge returns the bridge, up, with exactly the host's address.
func (n *Network) openBridge() (netlink.Link, error) {
	link, err := netif.ByName(n.cfg.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		link, err = n.createBridge()
	}
	if err != nil {
		return nil, err
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("interface %s is there and is no bridge but a %s", n.cfg.Bridge, link.Type())
	}
	// No address of IPv6: the host offers nothing there.
	if err := sysctl("net/ipv6/conf/"+n.cfg.Bridge+"/disable_ipv6", "1"); err != nil {
		return nil, err
	}
	// Frames between guests are bridged and not routed: a kernel with br_netfilter
	// would send them through the forward chain, whose policy is to drop.
	for _, table := range []string{"iptables", "ip6tables", "arptables"} {
		if err := sysctl("net/bridge/bridge-nf-call-"+table, "0"); err != nil {
			return nil, err
		}
	}
	if err := netif.SetAddress(link, n.Host()); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("setting %s up: %w", n.cfg.Bridge, err)
	}
	return link, nil
}

func (n *Network) createBridge() (netlink.Link, error) {
	// A MAC address of its own: otherwise the bridge takes that of one of its
	// taps, and another when that one goes, and guests lose their gateway.
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac) // never fails (crypto/rand)
	mac[0] = mac[0]&^1 | 2
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.cfg.Bridge
	attrs.HardwareAddr = mac
	off := false
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
		return nil, fmt.Errorf("making the bridge: %w", err)
	}
	return netif.ByName(n.cfg.Bridge)
}

// join puts a tap onto the bridge and sets it up.
func join(tap string, bridge netlink.Link) error {
	link, err := netif.ByName(tap)
	if err != nil {
		return err
	}
	if link.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return fmt.Errorf("joining %s: %w", bridge.Attrs().Name, err)
		}
	}
	// The host's own IPv6 stack has no business on a guest's cable.
	if err := sysctl("net/ipv6/conf/"+tap+"/disable_ipv6", "1"); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting it up: %w", err)
	}
	return nil
}

// sysctl makes a setting of the kernel, if the kernel has it.
func sysctl(name, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("kernel setting %s: %w", name, err)
	}
	return nil
}

// openTap makes a tap that lives as long as its descriptor.
func openTap(name string) (*os.File, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil || name == "" {
		return nil, fmt.Errorf("no usable interface name: %w", errors.Join(err, unix.EINVAL))
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("TUNSETIFF", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
