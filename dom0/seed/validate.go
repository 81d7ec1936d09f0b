package seed

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// Validate says whether the seed is sound, without looking at the host.
func (s *Seed) Validate() error {
	if s.Version != Version {
		return fmt.Errorf("seed: version: %d is not known here; this Gozen reads version %d", s.Version, Version)
	}
	checks := []struct {
		field string
		check func() error
	}{
		{"hostname", func() error { return checkHostname(s.Hostname) }},
		{"admin_ca_pem", func() error { return checkAdminCA(s.AdminCAPEM) }},
		{"host_cert_pem", func() error { return checkHostPair(s.HostCertPEM, s.HostKeyPEM) }},
		{"network", s.Network.check},
		{"data_disk", s.DataDisk.check},
		{"guest_network.subnet", s.checkGuestSubnet},
	}
	for _, c := range checks {
		if err := c.check(); err != nil {
			return fmt.Errorf("seed: %s: %w", c.field, err)
		}
	}
	return nil
}

// checkHostname accepts RFC 1123 names that fit the kernel's 64 bytes.
func checkHostname(name string) error {
	if name == "" {
		return nil
	}
	if len(name) > 63 {
		return fmt.Errorf("%d characters; at most 63 are allowed", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%q: every part between dots begins and ends with a letter or digit", name)
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return fmt.Errorf("%q: only letters, digits, '-' and '.' are allowed", name)
			}
		}
	}
	return nil
}

func checkAdminCA(text string) error {
	if text == "" {
		return nil
	}
	certs, err := parseCertificates(text)
	if err != nil {
		return err
	}
	for _, cert := range certs {
		if !cert.IsCA {
			return fmt.Errorf("certificate %q is not a certificate authority; give the CA that signed the admins' certificates", cert.Subject.CommonName)
		}
	}
	return nil
}

func parseCertificates(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a PEM block %q; only CERTIFICATE blocks belong here", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate in it; it begins with -----BEGIN CERTIFICATE-----")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("text that is no PEM block follows the last certificate")
	}
	return out, nil
}

func checkHostPair(cert, key string) error {
	switch {
	case cert == "" && key == "":
		return nil
	case key == "":
		return errors.New("host_key_pem is missing; give both or none")
	case cert == "":
		return errors.New("missing although host_key_pem is given; give both or none")
	}
	if _, err := tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		return fmt.Errorf("certificate and host_key_pem do not make a pair: %w", err)
	}
	return nil
}

func (n *Network) check() error {
	if len(n.Interface) > 15 || strings.ContainsAny(n.Interface, "/ \t\n\x00") || n.Interface == "." || n.Interface == ".." {
		return fmt.Errorf("interface: %q is no interface name (such as \"eth0\"); leave it out to use the first with carrier", n.Interface)
	}
	for i, text := range n.DNS {
		if _, err := parseAddr(text); err != nil {
			return fmt.Errorf("dns: entry %d: %w", i+1, err)
		}
	}
	switch n.Mode {
	case "", ModeDHCP:
		if n.Address != "" || n.Gateway != "" {
			return errors.New(`address and gateway are for mode "static"; take them out or set the mode`)
		}
		return nil
	case ModeStatic:
		return n.checkStatic()
	}
	return fmt.Errorf(`mode: %q is unknown; use "dhcp" or "static"`, n.Mode)
}

func (n *Network) checkStatic() error {
	if n.Address == "" {
		return errors.New(`address: missing; mode "static" needs one, as in "192.0.2.5/24"`)
	}
	prefix, err := netip.ParsePrefix(n.Address)
	if err != nil || !prefix.Addr().Is4() {
		return fmt.Errorf("address: %q is no IPv4 address with prefix length, as in \"192.0.2.5/24\"", n.Address)
	}
	if !usable(prefix.Addr()) {
		return fmt.Errorf("address: %s cannot be a host's address", prefix.Addr())
	}
	if bits := prefix.Bits(); bits < 1 {
		return fmt.Errorf("address: prefix length %d leaves no outside", bits)
	} else if bits < 31 && (prefix.Addr() == prefix.Masked().Addr() || prefix.Addr() == lastAddr(prefix)) {
		return fmt.Errorf("address: %s is the network's own or broadcast address", prefix)
	}
	if n.Gateway == "" {
		return nil
	}
	gw, err := parseAddr(n.Gateway)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if !prefix.Contains(gw) {
		return fmt.Errorf("gateway: %s is not in %s", gw, prefix.Masked())
	}
	if gw == prefix.Addr() {
		return fmt.Errorf("gateway: %s is this host's own address", gw)
	}
	return nil
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() || !usable(addr) {
		return netip.Addr{}, fmt.Errorf("%q is no IPv4 host address, as in \"192.0.2.1\"", text)
	}
	return addr, nil
}

// usable excludes addresses that no host on a network can have.
func usable(addr netip.Addr) bool {
	return !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback() &&
		addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// lastAddr is the broadcast address of an IPv4 prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

func (d *DataDisk) check() error {
	if d.Device == "" {
		if d.FormatIfBlank {
			return errors.New("device: missing although format_if_blank is set")
		}
		return nil
	}
	if serial, ok := strings.CutPrefix(d.Device, "serial="); ok {
		if serial == "" || len(serial) > 64 {
			return fmt.Errorf("device: %q: give the serial number after \"serial=\", 1 to 64 characters", d.Device)
		}
		for _, c := range []byte(serial) {
			if c < 0x20 || c > 0x7e {
				return fmt.Errorf("device: %q: a serial number is printable ASCII", d.Device)
			}
		}
		return nil
	}
	if !strings.HasPrefix(d.Device, "/dev/") || path.Clean(d.Device) != d.Device || strings.ContainsAny(d.Device, " \x00") {
		return fmt.Errorf("device: %q is neither a path such as \"/dev/nvme0n1\" nor \"serial=NUMBER\"", d.Device)
	}
	return nil
}

func (s *Seed) checkGuestSubnet() error {
	text := s.GuestNetwork.Subnet
	if text == "" {
		text = DefaultGuestSubnet
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() {
		return fmt.Errorf("%q is no IPv4 subnet, as in %q", text, DefaultGuestSubnet)
	}
	if prefix.Masked() != prefix {
		return fmt.Errorf("%s has host bits set; did you mean %s?", prefix, prefix.Masked())
	}
	if prefix.Bits() < 16 || prefix.Bits() > 29 {
		return fmt.Errorf("%s: the prefix length must be from 16 to 29", prefix)
	}
	if !usable(prefix.Addr()) {
		return fmt.Errorf("%s cannot be used for hosts", prefix)
	}
	if s.Network.Mode == ModeStatic {
		if mgmt, err := netip.ParsePrefix(s.Network.Address); err == nil && mgmt.Overlaps(prefix) {
			return fmt.Errorf("%s overlaps the management network %s; choose another, such as \"10.78.0.0/24\"", prefix, mgmt.Masked())
		}
	}
	return nil
}
