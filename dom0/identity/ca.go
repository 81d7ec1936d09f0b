package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// ServerName is a DNS name in every host certificate, asked for by clients
// whatever the host's address is.
const ServerName = "gozen-host"

// Lifetimes of certificates.
const (
	caLifetime    = 10 * 365 * 24 * time.Hour
	adminLifetime = 2 * 365 * 24 * time.Hour
	hostLifetime  = 10 * 365 * 24 * time.Hour

	// backdate is how far a host's clock may be behind the admin's.
	backdate = 24 * time.Hour
)

// Pair is a certificate and its private key, both in PEM (PKCS #8 for the key).
type Pair struct {
	CertPEM []byte
	KeyPEM  []byte
}

// TLS returns the pair in the form that crypto/tls takes.
func (p Pair) TLS() (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("identity: certificate and key: %w", err)
	}
	return cert, nil
}

// CA is a certificate authority with its key.
type CA struct {
	Pair
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority, valid from now.
func NewCA(name string) (*CA, error) {
	if name == "" {
		return nil, errors.New("identity: an authority needs a name")
	}
	now := time.Now()
	pair, err := issue(&x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("identity: authority %q: %w", name, err)
	}
	return LoadCA(pair)
}

// LoadCA reads an authority that NewCA made.
func LoadCA(pair Pair) (*CA, error) {
	cert, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("identity: authority %q: the key cannot sign", cert.Leaf.Subject.CommonName)
	}
	if !cert.Leaf.IsCA {
		return nil, fmt.Errorf("identity: certificate %q is not an authority", cert.Leaf.Subject.CommonName)
	}
	return &CA{Pair: pair, cert: cert.Leaf, key: key}, nil
}

// IssueAdmin makes the identity of an admin: it may use hosts that trust this
// authority, and cannot pose as a host.
func (ca *CA) IssueAdmin(name string) (Pair, error) {
	if name == "" {
		return Pair{}, errors.New("identity: an admin needs a name")
	}
	pair, err := issue(adminTemplate(name, time.Now().Add(adminLifetime)), ca)
	if err != nil {
		return Pair{}, fmt.Errorf("identity: admin %q: %w", name, err)
	}
	return pair, nil
}

// IssueHost makes the identity of a host. The first name is its subject; all
// names and addresses, and ServerName, are what it may be called.
func (ca *CA) IssueHost(names []string, ips []net.IP) (Pair, error) {
	tmpl := hostTemplate(names, ips)
	pair, err := issue(tmpl, ca)
	if err != nil {
		return Pair{}, fmt.Errorf("identity: host %q: %w", tmpl.Subject.CommonName, err)
	}
	return pair, nil
}

// NewSelfSigned makes the identity of a host that no authority vouches for.
// Clients pin it by Fingerprint.
func NewSelfSigned(names []string) (Pair, error) {
	tmpl := hostTemplate(names, nil)
	pair, err := issue(tmpl, nil)
	if err != nil {
		return Pair{}, fmt.Errorf("identity: host %q: %w", tmpl.Subject.CommonName, err)
	}
	return pair, nil
}

func adminTemplate(name string, notAfter time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-backdate), NotAfter: notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func hostTemplate(names []string, ips []net.IP) *x509.Certificate {
	subject := ServerName
	dns := []string{ServerName}
	for _, name := range names {
		if name != "" && name != ServerName {
			dns = append(dns, name)
		}
	}
	if len(dns) > 1 {
		subject = dns[1]
	}
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: subject},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(hostLifetime),
		DNSNames: dns, IPAddresses: ips,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// issue makes a key and signs its certificate, by itself when ca is nil.
func issue(tmpl *x509.Certificate, ca *CA) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	parent, signer := tmpl, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
