package firewall

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func rules() Rules {
	return Rules{
		Bridge: "gz0", Subnet: netip.MustParsePrefix("10.77.0.0/24"), Host: netip.MustParseAddr("10.77.0.1"),
		Ports: []Port{{Tap: "gzt1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}},
	}
}

// text writes a plan as lines.
func text(t *testing.T, r Rules) []string {
	t.Helper()
	plan, err := build(r)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, table := range plan {
		for _, c := range table.chains {
			policy := "accept"
			if c.policy == 0 {
				policy = "drop"
			}
			out = append(out, c.name+": "+policy)
			for _, r := range c.rules {
				out = append(out, "  "+r.text)
			}
		}
	}
	return out
}

func TestBuild(t *testing.T) {
	want := []string{
		"input: accept",
		"  iifname == gz0 ct state established,related accept",
		"  iifname == gz0 ip udp dport 67 accept",
		"  iifname == gz0 ip icmp accept",
		"  iifname == gz0 drop",
		"forward: drop",
		"  iifname == gz0 ip saddr != 10.77.0.0/24 drop",
		"  ct state established,related accept",
		"  iifname == gz0 oifname != gz0 ip accept",
		"postrouting: accept",
		"  oifname != gz0 ip saddr == 10.77.0.0/24 masquerade",
		"prerouting: accept",
		"  iifname == gzt1 ether saddr != drop",
		"  iifname == gzt1 ether type arp arp saddr ether != drop",
		"  iifname == gzt1 ether type arp arp saddr ip host drop",
		"  iifname == gzt1 ether type ip saddr == 10.77.0.1/32 drop",
		"  iifname == gzt1 ether type ip udp sport 67 drop",
		"  iifname == gzt1 ether type ip6 icmpv6 type router-advert drop",
	}
	if diff := cmp.Diff(want, text(t, rules())); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestBuildIsolated(t *testing.T) {
	r := rules()
	r.Isolated = true
	for _, line := range text(t, r) {
		if strings.Contains(line, "masquerade") || strings.Contains(line, "oifname") {
			t.Errorf("an isolated network has %q", line)
		}
	}
}

func TestBuildAllowsPorts(t *testing.T) {
	r := rules()
	r.AllowTCP = []uint16{8443}
	all := strings.Join(text(t, r), "\n")
	allow := strings.Index(all, "iifname == gz0 ip tcp dport 8443 accept")
	if last := strings.Index(all, "iifname == gz0 drop"); allow < 0 || allow > last {
		t.Errorf("rules are\n%s", all)
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, change := range map[string]func(*Rules){
		"no bridge":    func(r *Rules) { r.Bridge = "" },
		"long name":    func(r *Rules) { r.Bridge = strings.Repeat("x", 16) },
		"no subnet":    func(r *Rules) { r.Subnet = netip.Prefix{} },
		"host bits":    func(r *Rules) { r.Subnet = netip.MustParsePrefix("10.77.0.1/24") },
		"host outside": func(r *Rules) { r.Host = netip.MustParseAddr("10.78.0.1") },
		"no tap":       func(r *Rules) { r.Ports[0].Tap = "" },
		"short MAC":    func(r *Rules) { r.Ports[0].MAC = r.Ports[0].MAC[:5] },
	} {
		r := rules()
		change(&r)
		if _, err := build(r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
