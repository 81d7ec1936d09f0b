package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
)

// Table is the name of both tables.
const Table = "gozen"

// Port is a guest's place on the bridge.
type Port struct {
	Tap string // interface name
	MAC net.HardwareAddr
}

// Rules is all that the firewall has to know.
type Rules struct {
	Bridge string       // the guests' bridge
	Subnet netip.Prefix // of the guests
	Host   netip.Addr   // the host's own address in Subnet
	// Isolated forwards nothing and translates nothing.
	Isolated bool
	// AllowTCP lists ports of the host that guests may reach.
	AllowTCP []uint16
	Ports    []Port
}

// Firewall makes rules effective.
type Firewall interface {
	// Apply replaces all rules made before.
	Apply(Rules) error
	// Remove takes all rules away.
	Remove() error
}

// NFTables is the Firewall of the kernel.
type NFTables struct{}

// Apply replaces both tables in one transaction.
func (NFTables) Apply(r Rules) error {
	plan, err := build(r)
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	for _, t := range plan {
		remove(conn, t.family)
		table := conn.AddTable(&nftables.Table{Name: Table, Family: t.family})
		for _, c := range t.chains {
			policy := c.policy
			chain := conn.AddChain(&nftables.Chain{Name: c.name, Table: table, Type: c.kind,
				Hooknum: c.hook, Priority: c.priority, Policy: &policy})
			for _, rule := range c.rules {
				conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule.exprs})
			}
		}
	}
	return flush(conn)
}

// Remove takes both tables away. It is no error that there are none.
func (NFTables) Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	remove(conn, nftables.TableFamilyINet)
	remove(conn, nftables.TableFamilyBridge)
	return flush(conn)
}

// remove deletes a table that may or may not be there: adding is no error if it
// is, deleting then is none either.
func remove(conn *nftables.Conn, family nftables.TableFamily) {
	conn.DelTable(conn.AddTable(&nftables.Table{Name: Table, Family: family}))
}

func flush(conn *nftables.Conn) error {
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("firewall: nftables: %w; are the modules nf_tables, nft_ct and nft_masq in the image?", err)
	}
	return nil
}

func (r Rules) check() error {
	if r.Bridge == "" || len(r.Bridge) > 15 {
		return fmt.Errorf("firewall: %q is no interface name", r.Bridge)
	}
	if !r.Subnet.Addr().Is4() || r.Subnet.Masked() != r.Subnet || !r.Subnet.Contains(r.Host) {
		return fmt.Errorf("firewall: subnet %s with the host at %s is not usable", r.Subnet, r.Host)
	}
	var errs []error
	for _, p := range r.Ports {
		if p.Tap == "" || len(p.Tap) > 15 || len(p.MAC) != 6 {
			errs = append(errs, fmt.Errorf("firewall: port %q with MAC %q is not usable", p.Tap, p.MAC))
		}
	}
	return errors.Join(errs...)
}
