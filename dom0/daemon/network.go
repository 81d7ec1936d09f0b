package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gozen/dom0/fault"
	"gozen/dom0/firewall"
	"gozen/dom0/guestnet"
	"gozen/dom0/guests"
	"gozen/dom0/hostnet"
	"gozen/dom0/initctl"
)

const (
	// guestBridge is the bridge of the guests' default network.
	guestBridge = "gz0"
	// dhcpPause is the wait after the guests' DHCP server failed.
	dhcpPause = 2 * time.Second
)

// networks are the host's own network and that of its guests. The zero value is
// a machine whose network is left alone.
type networks struct {
	uplink *hostnet.Uplink

	mu     sync.Mutex
	guests *guestnet.Network
	err    error // why there is none
	leased func(net.HardwareAddr, netip.Addr)
}

// startNetwork configures the management interface and the guests' network.
func (d *daemon) startNetwork(ctx context.Context) {
	if !d.real() {
		d.net.err = fault.New(fault.Unavailable, "a daemon with a root of its own leaves the machine's network alone")
		return
	}
	d.net.uplink = hostnet.New(hostnet.Config{
		Network:     d.seed.Network,
		Hostname:    d.host.hostname,
		GuestSubnet: d.seed.GuestSubnet(),
		ResolvConf:  "/etc/resolv.conf",
		Changed:     func(hostnet.State) { d.bannerDue() },
		Log:         d.log,
	})
	go func() { _ = d.net.uplink.Run(ctx) }() // ends with ctx only
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	d.openGuestNetwork(ctx)
}

// openGuestNetwork is called with d.net.mu held.
func (d *daemon) openGuestNetwork(ctx context.Context) {
	d.net.guests, d.net.err = nil, nil
	ports, err := guests.Ports(d.runDir())
	if err == nil {
		d.net.guests, err = guestnet.Open(guestnet.Config{
			Bridge:    guestBridge,
			Subnet:    d.seed.GuestSubnet(),
			Isolated:  d.seed.Isolated,
			LeaseFile: filepath.Join(d.data(), "leases.json"),
			Ports:     ports,
			DNS:       d.net.uplink.DNS,
			Leased: func(mac net.HardwareAddr, addr netip.Addr) {
				d.net.mu.Lock()
				leased := d.net.leased
				d.net.mu.Unlock()
				if leased != nil {
					leased(mac, addr)
				}
			},
			Firewall: firewall.NFTables{},
			Log:      d.log,
		})
	}
	if err != nil {
		d.log.Error("the guests' network", "err", err)
		d.net.guests, d.net.err = nil, err
		return
	}
	go serveDHCP(ctx, d, d.net.guests)
}

func serveDHCP(ctx context.Context, d *daemon, n *guestnet.Network) {
	for {
		err := n.Serve(ctx)
		if ctx.Err() != nil {
			return
		}
		d.log.Error("the guests' DHCP server", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(dhcpPause):
		}
	}
}

// guestNetwork gives the guests' network, or why there is none. One that could
// not be opened is tried again.
func (d *daemon) guestNetwork() (*guestnet.Network, error) {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	if d.net.guests == nil && d.net.uplink != nil {
		d.openGuestNetwork(d.ctx)
	}
	return d.net.guests, d.net.err
}

// gateway is the host's address in the guests' network, at which the API does
// not answer.
func (d *daemon) gateway() netip.Addr {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	if d.net.guests == nil {
		return netip.Addr{}
	}
	return d.net.guests.Host().Addr()
}

// uplinkState is what is known of the management interface.
func (d *daemon) uplinkState() hostnet.State {
	if d.net.uplink == nil {
		return hostnet.State{}
	}
	return d.net.uplink.State()
}

// networkProblems says what is wrong with the networks now.
func (d *daemon) networkProblems() []string {
	var out []string
	if p := d.uplinkState().Problem; p != "" {
		out = append(out, "management network: "+p)
	}
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	if d.net.err != nil && d.net.uplink != nil {
		out = append(out, fmt.Sprintf("guests' network: %v", d.net.err))
	}
	return out
}

// bannerDue lets the console be written anew. It does not block.
func (d *daemon) bannerDue() {
	select {
	case d.redraw <- struct{}{}:
	default: // due already
	}
}

// showBanners shows on the host's console how to reach it and what is wrong,
// whenever that changes.
func (d *daemon) showBanners(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.redraw:
		}
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := (initctl.Client{}).Banner(asking, d.banner()); err != nil {
			d.log.Warn("cannot show the banner on the console", "err", err)
		}
		cancel()
	}
}

func (d *daemon) banner() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Gozen %s, host %s\n", Version, d.host.hostname)
	_, port, _ := net.SplitHostPort(d.opt.Listen)
	for _, a := range d.uplinkState().Addresses {
		fmt.Fprintf(&b, "API: https://%s\n", net.JoinHostPort(a.Addr().String(), port))
	}
	fmt.Fprintf(&b, "certificate: %s\n", d.fingerprint)
	for _, p := range d.host.problemList() {
		fmt.Fprintf(&b, "PROBLEM: %.300s\n", p)
	}
	return b.String()
}
