package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"gozen/dom0/guestnet"
	"gozen/dom0/hostinfo"
	"gozen/dom0/initctl"
	"gozen/dom0/seed"
)

const defaultHostname = "gozen"

// loadSeed reads what the host was told before its first boot. A broken seed is
// taken as an empty one: the host then lets nobody in, and says why on its
// console.
func (d *daemon) loadSeed() {
	d.seed = &seed.Seed{Version: seed.Version}
	b, err := os.ReadFile(d.path("/seed/seed.json"))
	if err == nil {
		var s *seed.Seed
		if s, err = seed.Parse(b); err == nil {
			d.seed = s
		}
	}
	if err != nil {
		d.host.problem("seed", err)
	}
	d.host.hostname = d.seed.Hostname
	if d.host.hostname == "" {
		d.host.hostname = defaultHostname
	}
}

// openStorage makes the data disk available.
func (d *daemon) openStorage() {
}

// startNetwork configures the management interface and the guests' network.
func (d *daemon) startNetwork(context.Context) {
}

// network gives the guests' network, or why there is none.
func (d *daemon) network() (*guestnet.Network, error) {
	return nil, errors.New("is not configured")
}

// gateway is the host's address in the guests' network, at which the API does
// not answer.
func (d *daemon) gateway() netip.Addr { return netip.Addr{} }

// managementInterface is the name of the interface that admins reach.
func (d *daemon) managementInterface() string { return "" }

// banner shows on the host's console how to reach it and what is wrong.
func (d *daemon) banner(ctx context.Context) {
	if !d.real() {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Gozen %s, host %s\n", Version, d.host.hostname)
	if interfaces, err := hostinfo.Interfaces(); err == nil {
		for _, i := range interfaces {
			if i.Name == d.managementInterface() {
				fmt.Fprintf(&b, "API: port 8443 of %s\n", strings.Join(i.Addresses, ", "))
			}
		}
	}
	fmt.Fprintf(&b, "certificate: %s\n", d.fingerprint)
	for _, p := range d.host.problemList() {
		fmt.Fprintf(&b, "PROBLEM: %.300s\n", p)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := (initctl.Client{}).Banner(ctx, b.String()); err != nil {
		d.log.Warn("cannot show the banner on the console", "err", err)
	}
}
