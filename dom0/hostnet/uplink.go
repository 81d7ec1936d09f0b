package hostnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gozen/dom0/netif"
	"gozen/dom0/seed"

	"github.com/vishvananda/netlink"
)

// retryPause is the wait after a failure that is not the DHCP server's silence.
const retryPause = 2 * time.Second

// Config describes the host's way to its admins.
type Config struct {
	Network  seed.Network
	Hostname string // told to the DHCP server

	// GuestSubnet is in use by guests: a management network that overlaps it
	// is a problem that State tells.
	GuestSubnet netip.Prefix

	// ResolvConf is the file for the name servers, "/etc/resolv.conf" on a host.
	ResolvConf string

	// Changed, when not nil, is called after every change of the state. It must
	// not block.
	Changed func(State)
	Log     *slog.Logger
}

// State is what the host has.
type State struct {
	Interface string         // "" while there is none
	Addresses []netip.Prefix // of IPv4, given by the Uplink
	Gateway   netip.Addr     // zero when there is none
	DNS       []netip.Addr
	Problem   string // why there is no address yet, or what is wrong with it
}

// Uplink is the management network.
type Uplink struct {
	cfg Config

	mu    sync.Mutex
	state State
}

// New makes an Uplink. Run does its work.
func New(cfg Config) *Uplink {
	return &Uplink{cfg: cfg, state: State{Problem: "not started yet", DNS: cfg.Network.DNSAddrs()}}
}

// State returns what the host has now.
func (u *Uplink) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.state
	s.Addresses = slices.Clone(s.Addresses)
	s.DNS = slices.Clone(s.DNS)
	return s
}

// DNS returns the name servers known now: those of the seed, then those learnt
// by DHCP.
func (u *Uplink) DNS() []netip.Addr { return u.State().DNS }

// Run keeps the host connected until ctx ends.
func (u *Uplink) Run(ctx context.Context) error {
	for {
		err := u.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		u.problem(err.Error())
		u.cfg.Log.Warn("management network", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}

// connect chooses an interface and uses it until it cannot be used any more.
func (u *Uplink) connect(ctx context.Context) error {
	link, err := u.choose(ctx)
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	if old := u.State().Interface; old != "" && old != name {
		u.release(old)
	}
	u.update(func(s *State) { s.Interface = name })
	// A cable that is pulled out may come back in another network.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(awaitLoss(ctx, name)) }()
	if u.cfg.Network.Static() {
		err = u.useStatic(ctx, link)
	} else {
		err = u.useDHCP(ctx, link)
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return fmt.Errorf("interface %s: %w", name, err)
}

func (u *Uplink) useStatic(ctx context.Context, link netlink.Link) error {
	n := u.cfg.Network
	l := lease{address: n.Prefix(), dns: n.DNSAddrs()}
	if gw := n.GatewayAddr(); gw.IsValid() {
		l.routes = []route{{to: netip.PrefixFrom(netip.IPv4Unspecified(), 0), via: gw}}
	}
	if err := u.apply(link, l); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// apply makes a lease effective and tells everybody.
func (u *Uplink) apply(link netlink.Link, l lease) error {
	if err := netif.SetAddress(link, l.address); err != nil {
		return err
	}
	if err := setRoutes(link, l); err != nil {
		return err
	}
	dns := slices.Clone(u.cfg.Network.DNSAddrs())
	for _, a := range l.dns {
		if !slices.Contains(dns, a) {
			dns = append(dns, a)
		}
	}
	if err := writeResolvConf(u.cfg.ResolvConf, dns); err != nil {
		u.cfg.Log.Warn("name servers not written", "error", err)
	}
	problem := ""
	if u.cfg.GuestSubnet.IsValid() && u.cfg.GuestSubnet.Overlaps(l.address) {
		problem = fmt.Sprintf("the management network %s overlaps the guests' %s; give guest_network.subnet another range in the seed",
			l.address.Masked(), u.cfg.GuestSubnet)
		u.cfg.Log.Error(problem)
	}
	u.update(func(s *State) {
		*s = State{Interface: link.Attrs().Name, Addresses: []netip.Prefix{l.address}, Gateway: l.gateway(), DNS: dns, Problem: problem}
	})
	return nil
}

// release takes away what was given to an interface.
func (u *Uplink) release(name string) {
	u.update(func(s *State) { s.Addresses, s.Gateway = nil, netip.Addr{} })
	link, err := netif.ByName(name)
	if err != nil {
		return // gone, and its addresses with it
	}
	if err := removeAddresses(link); err != nil {
		u.cfg.Log.Warn("management network", "error", err)
	}
}

func (u *Uplink) problem(text string) { u.update(func(s *State) { s.Problem = text }) }

// update changes the state and tells, if anything did change.
func (u *Uplink) update(change func(*State)) {
	u.mu.Lock()
	before := u.state
	change(&u.state)
	after := u.state
	u.mu.Unlock()
	same := before.Interface == after.Interface && before.Gateway == after.Gateway && before.Problem == after.Problem &&
		slices.Equal(before.Addresses, after.Addresses) && slices.Equal(before.DNS, after.DNS)
	if !same && u.cfg.Changed != nil {
		u.cfg.Changed(u.State())
	}
}
