//go:build kvmhost

package hostnet

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gozen/dom0/dhcpd"
	"gozen/dom0/netif"
	"gozen/dom0/netif/nstest"
	"gozen/dom0/seed"

	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const patience = 60 * time.Second

// run starts an uplink and returns it with its changes.
func run(t *testing.T, n seed.Network) (u *Uplink, changes <-chan State, stop func()) {
	t.Helper()
	ch := make(chan State, 100)
	u = New(Config{Network: n, Hostname: "host", GuestSubnet: netip.MustParsePrefix("10.77.0.0/24"),
		ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"),
		Changed:    func(s State) { ch <- s }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return u, ch, stop
}

// await returns the first state that fits.
func await(t *testing.T, changes <-chan State, fits func(State) bool) State {
	t.Helper()
	limit := time.After(patience)
	var last State
	for {
		select {
		case last = <-changes:
			if fits(last) {
				return last
			}
		case <-limit:
			t.Fatalf("the state stays %+v", last)
		}
	}
}

func hasAddress(s State) bool { return len(s.Addresses) > 0 && s.Problem == "" }
func says(text string) func(State) bool {
	return func(s State) bool { return strings.Contains(s.Problem, text) }
}

// lan is a network with a DHCP server at 192.0.2.1.
func lan(t *testing.T, subnet string) *nstest.Machine {
	t.Helper()
	m := nstest.NewMachine(t)
	nstest.Cable(t, "up0", m, "eth0", nil)
	p := netip.MustParsePrefix(subnet)
	server := p.Addr().Next()
	m.Do(t, func() error { return nstest.Address("eth0", netip.PrefixFrom(server, p.Bits()).String()) })
	pool, err := dhcpd.NewPool("", p, server)
	if err != nil {
		t.Fatal(err)
	}
	s := dhcpd.Server{Config: dhcpd.Config{Interface: "eth0", Subnet: p, Server: server, Router: true, Pool: pool,
		DNS:   func() []netip.Addr { return []netip.Addr{server} },
		Known: func(net.HardwareAddr) bool { return true },
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil))}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Try(func() error { return s.Serve(ctx) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

func carrier(t *testing.T, m *nstest.Machine, on bool) {
	t.Helper()
	m.Do(t, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if on {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
}

func TestDHCP(t *testing.T) {
	m := lan(t, "192.0.2.0/24")
	u, changes, stop := run(t, seed.Network{Interface: "up0", DNS: []string{"198.51.100.53"}})
	got := await(t, changes, hasAddress)
	if got.Interface != "up0" || got.Gateway.String() != "192.0.2.1" || !netip.MustParsePrefix("192.0.2.0/24").Contains(got.Addresses[0].Addr()) {
		t.Errorf("state is %+v", got)
	}
	text, err := os.ReadFile(u.cfg.ResolvConf)
	if err != nil || string(text) != "nameserver 198.51.100.53\nnameserver 192.0.2.1\n" {
		t.Errorf("name servers are %q, %v", text, err)
	}
	route, err := netlink.RouteGet(net.IPv4(198, 51, 100, 7))
	if err != nil || route[0].Gw.String() != "192.0.2.1" {
		t.Errorf("the way out is %v, %v", route, err)
	}

	// The cable is pulled out and put back.
	carrier(t, m, false)
	await(t, changes, says("carrier"))
	carrier(t, m, true)
	if again := await(t, changes, hasAddress); again.Addresses[0] != got.Addresses[0] {
		t.Errorf("%s became %s", got.Addresses[0], again.Addresses[0])
	}

	// The daemon ends: the address stays. It starts again and has it at once.
	stop()
	link, err := netif.ByName("up0")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 {
		t.Errorf("addresses after the end: %v, %v", addrs, err)
	}
	_, changes, _ = run(t, seed.Network{Interface: "up0"})
	if again := await(t, changes, hasAddress); again.Addresses[0] != got.Addresses[0] {
		t.Errorf("%s became %s", got.Addresses[0], again.Addresses[0])
	}
}

func TestOverlapIsTold(t *testing.T) {
	lan(t, "10.77.0.0/16")
	_, changes, _ := run(t, seed.Network{Interface: "up0"})
	if s := await(t, changes, says("overlaps")); len(s.Addresses) == 0 {
		t.Error("the host has no address at all")
	}
}

func TestLateInterfaceAndStaticAddress(t *testing.T) {
	n := seed.Network{Interface: "up0", Mode: seed.ModeStatic, Address: "192.0.2.5/24", Gateway: "192.0.2.1", DNS: []string{"192.0.2.53"}}
	_, changes, _ := run(t, n)
	await(t, changes, says("there is no interface up0"))
	m := nstest.NewMachine(t)
	nstest.Cable(t, "up0", m, "eth0", nil)
	got := await(t, changes, hasAddress)
	if got.Addresses[0].String() != "192.0.2.5/24" || got.Gateway.String() != "192.0.2.1" || got.DNS[0].String() != "192.0.2.53" {
		t.Errorf("state is %+v", got)
	}
	link, err := netif.ByName("up0")
	if err != nil {
		t.Fatal(err)
	}
	// The interface goes away and comes back, as a USB adapter does.
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	await(t, changes, func(s State) bool { return s.Problem != "" })
	nstest.Cable(t, "up0", m, "eth0", nil)
	await(t, changes, hasAddress)
}

func TestNothingToChooseFrom(t *testing.T) {
	_, changes, _ := run(t, seed.Network{})
	await(t, changes, says("no network interface found"))
}
