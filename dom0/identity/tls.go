package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// protocols are offered by both sides, best first.
var protocols = []string{"h2", "http/1.1"}

// ServerConfig returns the daemon's TLS configuration: TLS 1.3, and a handshake
// only with holders of a valid client certificate signed by one of the
// authorities in adminCAPEM. With an empty adminCAPEM nobody gets in.
func ServerConfig(host Pair, adminCAPEM []byte) (*tls.Config, error) {
	cert, err := host.TLS()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if len(adminCAPEM) > 0 && !pool.AppendCertsFromPEM(adminCAPEM) {
		return nil, errors.New("identity: no certificate in the admin authority's PEM text")
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   protocols,
		// A resumed session would skip the look at the certificate.
		SessionTicketsDisabled: true,
	}, nil
}

// Trust says which host a client accepts. One of CAPEM and Fingerprint is set.
type Trust struct {
	CAPEM       []byte // authorities whose host certificates are accepted
	Name        string // name the certificate must carry; ServerName when empty
	Fingerprint string // accepts exactly this certificate, see Fingerprint
}

// ClientConfig returns the admin side's TLS configuration.
func ClientConfig(admin Pair, trust Trust) (*tls.Config, error) {
	cert, err := admin.TLS()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ServerName:   ServerName,
		NextProtos:   protocols,
	}
	if trust.Name != "" {
		cfg.ServerName = trust.Name
	}
	switch {
	case trust.Fingerprint != "" && len(trust.CAPEM) > 0:
		return nil, errors.New("identity: a host is trusted by authority or by fingerprint, not by both")
	case trust.Fingerprint != "":
		want, err := ParseFingerprint(trust.Fingerprint)
		if err != nil {
			return nil, err
		}
		// The chain says nothing here; VerifyConnection does the whole check.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			got := sha256.Sum256(state.PeerCertificates[0].Raw)
			if got != want {
				return fmt.Errorf("identity: the host shows the certificate %s, expected %s; compare with the host's console",
					format(got), format(want))
			}
			return nil
		}
	case len(trust.CAPEM) > 0:
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(trust.CAPEM) {
			return nil, errors.New("identity: no certificate in the host authority's PEM text")
		}
	default:
		return nil, errors.New("identity: nothing says which host to trust; give the authority's certificate or the host's fingerprint")
	}
	return cfg, nil
}

// PeerName returns the subject of the admin at the other end, for logs.
func PeerName(state *tls.ConnectionState) string {
	if state == nil || len(state.PeerCertificates) == 0 {
		return ""
	}
	return state.PeerCertificates[0].Subject.CommonName
}

const fingerprintPrefix = "SHA256:"

// Fingerprint returns the SHA-256 digest of the first certificate in a PEM text
// as "SHA256:" and 64 hexadecimal digits, the form in which the console shows it.
// It equals `openssl x509 -fingerprint -sha256` without the colons.
func Fingerprint(certPEM []byte) (string, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", errors.New("identity: no certificate in the PEM text")
	}
	return format(sha256.Sum256(block.Bytes)), nil
}

// ParseFingerprint reads what Fingerprint wrote, in any letter case, with or
// without the prefix and with or without colons between the digits.
func ParseFingerprint(text string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	digits := text
	if len(text) >= len(fingerprintPrefix) && strings.EqualFold(text[:len(fingerprintPrefix)], fingerprintPrefix) {
		digits = text[len(fingerprintPrefix):]
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
	if err != nil || len(raw) != len(sum) {
		return sum, fmt.Errorf("identity: %q is no fingerprint; expected SHA256: and 64 hexadecimal digits", text)
	}
	copy(sum[:], raw)
	return sum, nil
}

func format(sum [sha256.Size]byte) string { return fingerprintPrefix + hex.EncodeToString(sum[:]) }
