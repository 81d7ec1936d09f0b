package dhcpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// ErrFull is returned when every address of the network is given out.
var ErrFull = errors.New("no free address left in the network")

// declineTime is how long an address is avoided after a guest found somebody
// else using it.
const declineTime = 10 * time.Minute

// maxLeaseFile bounds what is read back, in bytes: 65,536 leases of 64 bytes.
const maxLeaseFile = 4 << 20

// Lease is an address given to a network interface of a guest.
type Lease struct {
	MAC     string     `json:"mac"` // "02:00:00:00:00:01"
	Address netip.Addr `json:"address"`
}

// Pool holds the leases of one subnet. Its methods may be used from many
// goroutines.
type Pool struct {
	file   string
	subnet netip.Prefix
	server netip.Addr
	now    func() time.Time

	mu       sync.Mutex
	byMAC    map[string]netip.Addr
	byAddr   map[netip.Addr]string
	declined map[netip.Addr]time.Time // until when
}

// NewPool reads the leases kept in file, which need not exist; "" keeps them in
// memory only. server is the host's own address in subnet. Entries that do not
// belong to the subnet (it was changed) are left out.
func NewPool(file string, subnet netip.Prefix, server netip.Addr) (*Pool, error) {
	if !subnet.Addr().Is4() || subnet.Bits() > 30 || !subnet.Contains(server) {
		return nil, fmt.Errorf("dhcp: %s with the host at %s: not a usable subnet", subnet, server)
	}
	p := &Pool{
		file: file, subnet: subnet.Masked(), server: server, now: time.Now,
		byMAC: make(map[string]netip.Addr), byAddr: make(map[netip.Addr]string),
		declined: make(map[netip.Addr]time.Time),
	}
	if file == "" {
		return p, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dhcp: reading leases: %w", err)
	}
	leases, err := parseLeases(text)
	if err != nil {
		return nil, fmt.Errorf("dhcp: leases in %s: %w; delete the file to let guests get new addresses", file, err)
	}
	for _, l := range leases {
		if p.usable(l.Address) && p.byAddr[l.Address] == "" && !p.byMAC[l.MAC].IsValid() {
			p.set(l.MAC, l.Address)
		}
	}
	return p, nil
}

// leaseFile is the format of the file.
type leaseFile struct {
	Version int     `json:"version"`
	Leases  []Lease `json:"leases"`
}

func parseLeases(text []byte) ([]Lease, error) {
	if len(text) > maxLeaseFile {
		return nil, fmt.Errorf("%d bytes are too many", len(text))
	}
	var file leaseFile
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, err
	}
	if file.Version != 1 {
		return nil, fmt.Errorf("version %d is unknown", file.Version)
	}
	for _, l := range file.Leases {
		mac, err := net.ParseMAC(l.MAC)
		if err != nil {
			return nil, err
		}
		if len(mac) != 6 || mac.String() != l.MAC {
			return nil, fmt.Errorf("%q is not in the form 02:00:00:00:00:01", l.MAC)
		}
	}
	return file.Leases, nil
}

// Address returns the address of a network interface, chosen at the first time.
// It is on disk when it is returned.
func (p *Pool) Address(mac net.HardwareAddr) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := mac.String()
	if addr, ok := p.byMAC[key]; ok {
		return addr, nil
	}
	addr, err := p.choose(mac)
	if err != nil {
		return netip.Addr{}, err
	}
	p.set(key, addr)
	if err := p.save(); err != nil {
		p.unset(key)
		return netip.Addr{}, err
	}
	return addr, nil
}

// Lookup returns the address of a network interface if it has one.
func (p *Pool) Lookup(mac net.HardwareAddr) (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addr, ok := p.byMAC[mac.String()]
	return addr, ok
}

// Forget frees the address of a network interface that exists no more.
func (p *Pool) Forget(mac net.HardwareAddr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := mac.String()
	if !p.byMAC[key].IsValid() {
		return nil
	}
	p.unset(key)
	return p.save()
}

// Decline frees an address that its owner found in use by somebody else, and
// avoids it for some time.
func (p *Pool) Decline(mac net.HardwareAddr, addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := mac.String()
	if p.byMAC[key] != addr || !addr.IsValid() {
		return
	}
	p.unset(key)
	p.declined[addr] = p.now().Add(declineTime)
	// The file keeps the old address until a new one is chosen: should the host
	// start before that, the guest is offered it once more.
}

// Leases returns all leases in rising order of address.
func (p *Pool) Leases() []Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list()
}

// list requires p.mu.
func (p *Pool) list() []Lease {
	out := make([]Lease, 0, len(p.byMAC))
	for mac, addr := range p.byMAC {
		out = append(out, Lease{mac, addr})
	}
	slices.SortFunc(out, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return out
}

// choose requires p.mu. It prefers the place that the MAC address hashes to, and
// takes a declined address only when there is no other.
func (p *Pool) choose(mac net.HardwareAddr) (netip.Addr, error) {
	size := uint32(1) << (32 - p.subnet.Bits())
	h := fnv.New32a()
	h.Write(mac)
	start := h.Sum32() % size
	var spare netip.Addr
	for i := range size {
		addr := p.nth((start + i) % size)
		if !p.usable(addr) || p.byAddr[addr] != "" {
			continue
		}
		if until, ok := p.declined[addr]; ok {
			if p.now().Before(until) {
				if !spare.IsValid() {
					spare = addr
				}
				continue
			}
			delete(p.declined, addr)
		}
		return addr, nil
	}
	if spare.IsValid() {
		return spare, nil
	}
	return netip.Addr{}, fmt.Errorf("dhcp: %s: %w", p.subnet, ErrFull)
}

// nth returns the address number n of the subnet.
func (p *Pool) nth(n uint32) netip.Addr {
	a := p.subnet.Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// usable excludes the host's own address and those of the network and of
// broadcast.
func (p *Pool) usable(addr netip.Addr) bool {
	size := uint32(1) << (32 - p.subnet.Bits())
	return addr.Is4() && p.subnet.Contains(addr) && addr != p.server && addr != p.nth(0) && addr != p.nth(size-1)
}

func (p *Pool) set(mac string, addr netip.Addr) {
	p.byMAC[mac] = addr
	p.byAddr[addr] = mac
}

func (p *Pool) unset(mac string) {
	delete(p.byAddr, p.byMAC[mac])
	delete(p.byMAC, mac)
}

// save requires p.mu.
func (p *Pool) save() error {
	if p.file == "" {
		return nil
	}
	text, err := json.MarshalIndent(leaseFile{Version: 1, Leases: p.list()}, "", " ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(p.file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("dhcp: keeping leases: %w", err)
	}
	return nil
}

// ParseMAC reads a MAC address of an interface: six bytes, not a group address.
func ParseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(strings.TrimSpace(text))
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return nil, fmt.Errorf("%q is no MAC address of an interface, as in \"02:00:00:00:00:01\"", text)
	}
	return mac, nil
}
