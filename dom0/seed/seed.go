package seed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// Version is the only version of the format so far.
const Version = 1

// MaxSize is the size in bytes of the largest seed accepted. A seed with a
// bundle of twenty CA certificates is some 40 KiB.
const MaxSize = 256 << 10

// DefaultGuestSubnet is the guests' network when the seed names none.
const DefaultGuestSubnet = "10.77.0.0/24"

// DefaultHostname is the host's name when the seed gives none.
const DefaultHostname = "gozen"

// Network modes.
const (
	ModeDHCP   = "dhcp"
	ModeStatic = "static"
)

// Seed is the first-boot configuration of a host. Fields hold text as it stands
// in the JSON; Validate (which Parse and Marshal call) says whether it is sound.
type Seed struct {
	Version int `json:"version"` // always Version

	// Hostname is a DNS label or name; DefaultHostname when empty.
	Hostname string `json:"hostname,omitempty"`

	// AdminCAPEM holds the certificates of the authorities whose leaves may use
	// the API. Without it the API refuses everybody.
	AdminCAPEM string `json:"admin_ca_pem,omitempty"`

	// HostCertPEM and HostKeyPEM are the host's identity, both or none. With none
	// the host makes a self-signed certificate and shows its fingerprint on the
	// console.
	HostCertPEM string `json:"host_cert_pem,omitempty"`
	HostKeyPEM  string `json:"host_key_pem,omitempty"`

	Network      Network      `json:"network,omitzero"`
	DataDisk     DataDisk     `json:"data_disk,omitzero"`
	GuestNetwork GuestNetwork `json:"guest_network,omitzero"`

	// Isolated keeps guests from the outside: no address translation and no
	// forwarding between the guests' network and the management network.
	Isolated bool `json:"isolated,omitempty"`
}

// Network configures the management network interface.
type Network struct {
	Interface string   `json:"interface,omitempty"` // the first physical one with carrier when empty
	Mode      string   `json:"mode,omitempty"`      // ModeDHCP (also when empty) or ModeStatic
	Address   string   `json:"address,omitempty"`   // ModeStatic: "192.0.2.5/24"
	Gateway   string   `json:"gateway,omitempty"`   // ModeStatic: "192.0.2.1", empty for none
	DNS       []string `json:"dns,omitempty"`       // added before those learnt by DHCP
}

// DataDisk names the disk that holds the host's state. With no device, state
// lives in memory.
type DataDisk struct {
	// Device is a path below /dev, or "serial=XYZ".
	Device string `json:"device,omitempty"`
	// FormatIfBlank allows a blank disk to be formatted. A disk that holds
	// anything is never touched.
	FormatIfBlank bool `json:"format_if_blank,omitempty"`
}

// GuestNetwork configures the guests' default network.
type GuestNetwork struct {
	Subnet string `json:"subnet,omitempty"` // DefaultGuestSubnet when empty
}

// GuestSubnet returns the guests' subnet, masked, with the default filled in.
// The seed must be valid.
func (s *Seed) GuestSubnet() netip.Prefix {
	text := s.GuestNetwork.Subnet
	if text == "" {
		text = DefaultGuestSubnet
	}
	return netip.MustParsePrefix(text).Masked()
}

// Static tells whether the management address is given by the seed.
func (n *Network) Static() bool { return n.Mode == ModeStatic }

// Prefix returns the static address with its subnet, or the zero value. The seed
// must be valid.
func (n *Network) Prefix() netip.Prefix {
	if n.Address == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(n.Address)
}

// GatewayAddr returns the static gateway, or the zero value. The seed must be
// valid.
func (n *Network) GatewayAddr() netip.Addr {
	if n.Gateway == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(n.Gateway)
}

// DNSAddrs returns the name servers. The seed must be valid.
func (n *Network) DNSAddrs() []netip.Addr {
	out := make([]netip.Addr, len(n.DNS))
	for i, text := range n.DNS {
		out[i] = netip.MustParseAddr(text)
	}
	return out
}

// Marshal returns the seed as JSON text, or why it is not sound. A zero Version
// is taken as the current one.
func (s Seed) Marshal() ([]byte, error) {
	if s.Version == 0 {
		s.Version = Version
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	if text.Len() > MaxSize {
		return nil, fmt.Errorf("seed: %d bytes, at most %d are allowed; put fewer certificates into admin_ca_pem", text.Len(), MaxSize)
	}
	return text.Bytes(), nil
}
