package dhcpd

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var (
	subnet = netip.MustParsePrefix("10.77.0.0/24")
	server = netip.MustParseAddr("10.77.0.1")
)

func mac(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }

func newPool(t testing.TB, file string, subnet netip.Prefix) *Pool {
	t.Helper()
	p, err := NewPool(file, subnet, subnet.Addr().Next())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func address(t testing.TB, p *Pool, m net.HardwareAddr) netip.Addr {
	t.Helper()
	a, err := p.Address(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAddressesStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.json")
	p := newPool(t, file, subnet)
	var want []netip.Addr
	for n := range byte(20) {
		want = append(want, address(t, p, mac(n)))
	}
	// The same again, in another order, by another process.
	q := newPool(t, file, subnet)
	for n := range byte(20) {
		if got := address(t, q, mac(19-n)); got != want[19-n] {
			t.Errorf("interface %d: %s became %s", 19-n, want[19-n], got)
		}
	}
	if diff := cmp.Diff(p.Leases(), q.Leases(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("leases differ:\n%s", diff)
	}
	// Without the file, a first interface gets what it had: the address follows
	// from the MAC address.
	if got := address(t, newPool(t, "", subnet), mac(0)); got != want[0] {
		t.Errorf("%s became %s without the file", want[0], got)
	}
	if err := q.Forget(mac(3)); err != nil {
		t.Fatal(err)
	}
	if _, ok := newPool(t, file, subnet).Lookup(mac(3)); ok {
		t.Error("a forgotten interface is in the file")
	}
}

func TestSubnetChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.json")
	address(t, newPool(t, file, subnet), mac(1))
	other := netip.MustParsePrefix("192.0.2.0/28")
	if got := address(t, newPool(t, file, other), mac(1)); !other.Contains(got) {
		t.Errorf("%s is not in %s", got, other)
	}
}

// TestEveryAddressOnce fills networks to the last address, whatever the MAC
// addresses are.
func TestEveryAddressOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(26, 30).Draw(t, "bits")
		subnet := netip.PrefixFrom(netip.MustParseAddr("10.0.0.64"), bits).Masked()
		p, err := NewPool("", subnet, subnet.Addr().Next())
		if err != nil {
			t.Fatal(err)
		}
		room := 1<<(32-bits) - 3
		seen := map[netip.Addr]bool{}
		macs := rapid.SliceOfNDistinct(rapid.SliceOfN(rapid.Byte(), 6, 6), room+1, room+1,
			func(b []byte) string { return string(b) }).Draw(t, "macs")
		for i, m := range macs {
			a, err := p.Address(m)
			if i == room {
				if !errors.Is(err, ErrFull) {
					t.Fatalf("the %d. of %d: %s, %v", i+1, room, a, err)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if seen[a] || !subnet.Contains(a) || a == subnet.Addr() || a == p.server || !subnet.Contains(a.Next()) {
				t.Fatalf("address %s", a)
			}
			seen[a] = true
		}
	})
}

func TestDecline(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPool(t, "", subnet)
	p.now = func() time.Time { return now }
	first := address(t, p, mac(1))
	p.Decline(mac(2), first) // not its own
	if got := address(t, p, mac(1)); got != first {
		t.Errorf("another guest's word took %s away", first)
	}
	p.Decline(mac(1), first)
	second := address(t, p, mac(1))
	if second == first {
		t.Error("a declined address was given again")
	}
	if err := p.Forget(mac(1)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(declineTime + time.Second)
	if got := address(t, p, mac(1)); got != first {
		t.Errorf("%s, want %s again after some time", got, first)
	}
	// A guest that declines everything cannot use the network up.
	small := newPool(t, "", netip.MustParsePrefix("10.0.0.0/29"))
	for range 100 {
		small.Decline(mac(1), address(t, small, mac(1)))
	}
	address(t, small, mac(1))
}

func TestUnusable(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": "x", "version": `{"version":2}`, "field": `{"version":1,"lease":[]}`,
		"mac":     `{"version":1,"leases":[{"mac":"x","address":"10.77.0.5"}]}`,
		"form":    `{"version":1,"leases":[{"mac":"02-00-00-00-00-01","address":"10.77.0.5"}]}`,
		"address": `{"version":1,"leases":[{"mac":"02:00:00:00:00:01","address":"x"}]}`,
	} {
		file := filepath.Join(t.TempDir(), "leases.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewPool(file, subnet, server); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewPool("", netip.MustParsePrefix("10.0.0.0/31"), netip.MustParseAddr("10.0.0.1")); err == nil {
		t.Error("a network without room was accepted")
	}
	if _, err := NewPool("", subnet, netip.MustParseAddr("10.78.0.1")); err == nil {
		t.Error("a host outside its network was accepted")
	}
	// A file that cannot be written: no address is promised.
	p := newPool(t, filepath.Join(t.TempDir(), "missing", "leases.json"), subnet)
	if a, err := p.Address(mac(1)); err == nil {
		t.Errorf("%s was given without being kept", a)
	}
	if _, ok := p.Lookup(mac(1)); ok {
		t.Error("the failed lease is remembered")
	}
}

// FuzzParseLeases checks that whatever the file holds, no two interfaces share
// an address and none is outside.
func FuzzParseLeases(f *testing.F) {
	f.Add([]byte(`{"version":1,"leases":[{"mac":"02:00:00:00:00:01","address":"10.77.0.5"},{"mac":"02:00:00:00:00:02","address":"10.77.0.5"}]}`))
	f.Add([]byte(`{"version":1,"leases":[{"mac":"02:00:00:00:00:01","address":"::1"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "leases.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := NewPool(file, subnet, server)
		if err != nil {
			return
		}
		seen := map[netip.Addr]bool{}
		for _, l := range p.Leases() {
			if seen[l.Address] || !subnet.Contains(l.Address) || l.Address == server {
				t.Fatalf("%+v", p.Leases())
			}
			seen[l.Address] = true
		}
	})
}

func TestParseMAC(t *testing.T) {
	for text, ok := range map[string]bool{"02:00:00:00:00:01": true, "01:00:5e:00:00:01": false, "02:00:00:00:00": false, "": false, "02:00:00:00:00:00:00:01": false} {
		if _, err := ParseMAC(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
