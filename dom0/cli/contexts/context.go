package contexts

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"gozen/dom0/identity"
)

// DefaultPort is where a Gozen host answers.
const DefaultPort = "8443"

// Context is an address and the identity to use there.
type Context struct {
	Name string `json:"-"`
	// Address is HOST:PORT.
	Address string `json:"address"`
	// ServerName is the name that the host's certificate must carry;
	// identity.ServerName, which every host's does, when empty.
	ServerName string `json:"server_name,omitempty"`
	// Fingerprint is the SHA-256 of the host's certificate, when it is to be exactly
	// this one; see identity.Fingerprint. There is no CA then.
	Fingerprint string `json:"fingerprint,omitempty"`

	CA   []byte `json:"-"` // PEM; empty when there is a Fingerprint
	Cert []byte `json:"-"` // PEM
	Key  []byte `json:"-"` // PEM
}

// PinError says that a host showed another certificate than the context wants.
type PinError struct {
	Want, Got string // fingerprints
	Err       error
}

func (e *PinError) Unwrap() error { return e.Err }

func (e *PinError) Error() string {
	return fmt.Sprintf("the host's certificate has the fingerprint %s, not %s", e.Got, e.Want)
}

// Check says what is wrong with the context.
func (c *Context) Check() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("context %q: %w", c.Name, err)
	}
	return nil
}

func (c *Context) check() error {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("address %q: %w", c.Address, err)
	}
	if len(c.CA) == 0 && c.Fingerprint == "" {
		return errors.New("neither a CA nor a fingerprint to know the host by")
	}
	_, err := c.TLSConfig()
	return err
}

// Certificate returns the admin's own certificate.
func (c *Context) Certificate() (*x509.Certificate, error) {
	return ParseCertificate(c.Cert)
}

// ParseCertificate returns the first certificate of a PEM file.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return nil, errors.New("holds no PEM certificate")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
}

// TLSConfig returns a TLS 1.3 client configuration that shows the admin's
// certificate, and accepts only the pinned host certificate if there is a
// fingerprint, else only one signed by the CA. A certificate that is not the
// pinned one gives a *PinError.
func (c *Context) TLSConfig() (*tls.Config, error) {
	trust := identity.Trust{CAPEM: c.CA, Name: c.ServerName, Fingerprint: c.Fingerprint}
	cfg, err := identity.ClientConfig(identity.Pair{CertPEM: c.Cert, KeyPEM: c.Key}, trust)
	if err != nil {
		return nil, err
	}
	// The certificate is shown even to hosts that say they do not know its CA: their
	// refusal then names the reason, and their log the admin.
	pair := cfg.Certificates[0]
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	if verify := cfg.VerifyConnection; verify != nil {
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil {
				return &PinError{Want: c.Fingerprint, Got: fingerprint(state.PeerCertificates[0]), Err: err}
			}
			return nil
		}
	}
	return cfg, nil
}

// fingerprint writes a certificate's SHA-256 in the form the host's console shows.
func fingerprint(cert *x509.Certificate) string {
	text, err := identity.Fingerprint(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	if err != nil {
		return "?"
	}
	return text
}

// ParseAddress completes an address with the default port and checks its form.
// IPv6 addresses may come with or without brackets.
func ParseAddress(s string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("address %q: %s; want HOST or HOST:PORT, such as 192.0.2.7:%s", s, why, DefaultPort)
	}
	if strings.Contains(s, "/") {
		return bad("this is a URL or a path")
	}
	host, port := s, DefaultPort
	if net.ParseIP(s) == nil {
		if bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"); len(bare) == len(s)-2 {
			host = bare
		} else if strings.Contains(s, ":") {
			var err error
			if host, port, err = net.SplitHostPort(s); err != nil {
				return bad("not HOST:PORT")
			}
		}
	}
	if host == "" || strings.ContainsAny(host, " \t[]") {
		return bad("no host name or address")
	}
	if strings.Contains(host, ":") && net.ParseIP(strings.Split(host, "%")[0]) == nil {
		return bad("no IPv6 address")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return bad("the port must be 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}
