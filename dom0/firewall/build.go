package firewall

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table, chain and rule are what is wanted, before the kernel sees it.
type table struct {
	family nftables.TableFamily
	chains []chain
}

type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	policy   nftables.ChainPolicy
	rules    []rule
}

// rule carries its meaning as a person would write it, for tests and messages.
type rule struct {
	text  string
	exprs []expr.Any
}

// part is a piece of a rule.
type part struct {
	text  string
	exprs []expr.Any
}

func newRule(parts ...part) rule {
	var r rule
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.text
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.text = strings.Join(texts, " ")
	return r
}

// build turns rules into tables.
func build(r Rules) ([]table, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return []table{
		{nftables.TableFamilyINet, []chain{r.input(), r.forward(), r.translate()}},
		{nftables.TableFamilyBridge, []chain{r.enter()}},
	}, nil
}

// input is what guests may send to the host, whatever address of it they name.
func (r Rules) input() chain {
	guests := iifname("==", r.Bridge)
	c := chain{name: "input", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookInput,
		priority: nftables.ChainPriorityFilter, policy: nftables.ChainPolicyAccept}
	c.rules = append(c.rules,
		newRule(guests, established(), accept()),
		newRule(guests, ipv4(), protocol("udp", unix.IPPROTO_UDP), destPort(67), accept()),
		newRule(guests, ipv4(), protocol("icmp", unix.IPPROTO_ICMP), accept()),
	)
	for _, port := range r.AllowTCP {
		c.rules = append(c.rules, newRule(guests, ipv4(), protocol("tcp", unix.IPPROTO_TCP), destPort(port), accept()))
	}
	c.rules = append(c.rules, newRule(guests, drop()))
	return c
}

// forward lets guests out and answers in. Everything else is dropped: the host
// is no router for others.
func (r Rules) forward() chain {
	c := chain{name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward,
		priority: nftables.ChainPriorityFilter, policy: nftables.ChainPolicyDrop}
	if r.Isolated {
		return c
	}
	c.rules = append(c.rules,
		newRule(iifname("==", r.Bridge), ipv4(), source("!=", r.Subnet), drop()),
		newRule(established(), accept()),
		newRule(iifname("==", r.Bridge), oifname("!=", r.Bridge), ipv4(), accept()),
	)
	return c
}

// translate hides guests behind the host's address.
func (r Rules) translate() chain {
	c := chain{name: "postrouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting,
		priority: nftables.ChainPriorityNATSource, policy: nftables.ChainPolicyAccept}
	if !r.Isolated {
		c.rules = append(c.rules, newRule(oifname("!=", r.Bridge), ipv4(), source("==", r.Subnet), masquerade()))
	}
	return c
}

// enter looks at frames as they come from a port of the bridge.
func (r Rules) enter() chain {
	c := chain{name: "prerouting", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting,
		priority: nftables.ChainPriorityRaw, policy: nftables.ChainPolicyAccept}
	host := netip.PrefixFrom(r.Host, 32)
	for _, p := range r.Ports {
		tap := iifname("==", p.Tap)
		c.rules = append(c.rules,
			newRule(tap, payload("ether saddr !=", expr.PayloadBaseLLHeader, 6, expr.CmpOpNeq, p.MAC), drop()),
			// ARP: hardware address of the sender, then its IPv4 address (RFC 826).
			newRule(tap, etherType("arp", unix.ETH_P_ARP), payload("arp saddr ether !=", expr.PayloadBaseNetworkHeader, 8, expr.CmpOpNeq, p.MAC), drop()),
			newRule(tap, etherType("arp", unix.ETH_P_ARP), payload("arp saddr ip host", expr.PayloadBaseNetworkHeader, 14, expr.CmpOpEq, r.Host.AsSlice()), drop()),
			newRule(tap, etherType("ip", unix.ETH_P_IP), source("==", host), drop()),
			newRule(tap, etherType("ip", unix.ETH_P_IP), protocol("udp", unix.IPPROTO_UDP), sourcePort(67), drop()),
			// ICMPv6 type 134, a router's advertisement (RFC 4861, 4.2).
			newRule(tap, etherType("ip6", unix.ETH_P_IPV6), protocol("icmpv6", unix.IPPROTO_ICMPV6),
				payload("type router-advert", expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, []byte{134}), drop()),
		)
	}
	return c
}

func verdict(text string, kind expr.VerdictKind) part {
	return part{text, []expr.Any{&expr.Verdict{Kind: kind}}}
}

func accept() part     { return verdict("accept", expr.VerdictAccept) }
func drop() part       { return verdict("drop", expr.VerdictDrop) }
func masquerade() part { return part{"masquerade", []expr.Any{&expr.Masq{}}} }

func meta(text string, key expr.MetaKey, op expr.CmpOp, value []byte) part {
	return part{text, []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: value},
	}}
}

func payload(text string, base expr.PayloadBase, offset uint32, op expr.CmpOp, value []byte) part {
	return part{text, []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: op, Register: 1, Data: value},
	}}
}

// compare takes "==" and "!=".
func compare(op string) expr.CmpOp {
	if op == "!=" {
		return expr.CmpOpNeq
	}
	return expr.CmpOpEq
}

func iifname(op, name string) part {
	return meta("iifname "+op+" "+name, expr.MetaKeyIIFNAME, compare(op), ifname(name))
}

func oifname(op, name string) part {
	return meta("oifname "+op+" "+name, expr.MetaKeyOIFNAME, compare(op), ifname(name))
}

// ifname pads an interface name to IFNAMSIZ, the size of the register.
func ifname(name string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, name)
	return out
}

// ipv4 is needed in the family inet before anything that is IPv4's own.
func ipv4() part {
	return meta("ip", expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4})
}

func protocol(name string, number byte) part {
	return meta(name, expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{number})
}

func etherType(name string, number uint16) part {
	return meta("ether type "+name, expr.MetaKeyPROTOCOL, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, number))
}

func destPort(port uint16) part {
	return payload("dport "+strconv.Itoa(int(port)), expr.PayloadBaseTransportHeader, 2, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, port))
}

func sourcePort(port uint16) part {
	return payload("sport "+strconv.Itoa(int(port)), expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, port))
}

// source compares the IPv4 source address with a prefix.
func source(op string, p netip.Prefix) part {
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	return part{"saddr " + op + " " + p.String(), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: compare(op), Register: 1, Data: p.Masked().Addr().AsSlice()},
	}}
}

// established matches packets of connections that were let through before.
func established() part {
	mask := binary.NativeEndian.AppendUint32(nil, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	zero := make([]byte, 4)
	return part{"ct state established,related", []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: zero},
	}}
}
