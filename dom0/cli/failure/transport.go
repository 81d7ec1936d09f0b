package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/cli/contexts"
)

// ofTransport explains an error that happened on the way to the host, or returns
// nil if it is of another kind.
func ofTransport(err error, host Host) *Failure {
	for _, explain := range []func(error, Host) *Failure{ofHostCertificate, ofAlert, ofNetwork} {
		if f := explain(err, host); f != nil {
			return f
		}
	}
	return nil
}

// ofHostCertificate: this side did not accept the host's certificate.
func ofHostCertificate(err error, host Host) *Failure {
	address, name := host.names()
	var (
		pin       *contexts.PinError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &pin):
		return New(Identity, "%s is not the host that context %s was made for: %v", address, name, pin).
			WithHint("If the host was installed anew, compare with the fingerprint on its console, then:\n"+
				"gozen context add %s --replace --address %s --fingerprint %s", name, address, pin.Got)
	case errors.As(err, &authority):
		return New(Identity, "the certificate of %s was not signed by the CA of context %s", address, name).
			WithHint("This is another host, or it has another identity now.\n"+
				"Accept it by its CA (--ca FILE) or by the fingerprint its console shows (--fingerprint SHA256):\n"+
				"gozen context add %s --replace --address %s --fingerprint SHA256", name, address)
	case errors.As(err, &hostname):
		hint := "Say under which name to know it: gozen context add NAME --replace --server-name NAME …"
		if names := certificateNames(hostname.Certificate); names != "" {
			hint = "It carries: " + names + "\n" + hint
		}
		return New(Identity, "the certificate of %s does not carry the name %s", address, host.serverName()).WithHint("%s", hint)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return New(Identity, "the certificate of %s is valid from %s only", address, date(invalid.Cert.NotBefore)).
				WithHint("Compare the clocks: it is %s here.", date(time.Now()))
		}
		return New(Identity, "the certificate of %s expired on %s", address, date(invalid.Cert.NotAfter)).
			WithHint("Give the host a new one: gozen seed create --hostname NAME --issue-host-cert …")
	case errors.As(err, &verify):
		return New(Identity, "the certificate of %s was not accepted: %v", address, verify.Err)
	case errors.As(err, &record):
		return New(Unreachable, "%s does not speak TLS, so it is no Gozen host", address).
			WithHint("Check the port (Gozen answers on %s): gozen context show %s", contexts.DefaultPort, name)
	}
	return nil
}

func certificateNames(cert *x509.Certificate) string {
	if cert == nil {
		return ""
	}
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return strings.Join(names, ", ")
}

// alerts maps the text of TLS alerts (RFC 8446, 6.2) as crypto/tls words them to
// what they mean for the admin's certificate.
var alerts = []struct{ text, meaning string }{
	{"unknown certificate authority", "it was signed by a CA that this host does not know"},
	{"expired certificate", "it has expired"},
	{"revoked certificate", "it was revoked"},
	{"certificate required", "the host got none"},
	{"bad certificate", "it is not valid for an admin of this host"},
	{"unsupported certificate", "it is of a kind this host does not take"},
	{"unknown certificate", "it is not one this host knows"},
	{"access denied", "it does not give access to this host"},
}

// ofAlert: the host did not accept the admin's certificate.
func ofAlert(err error, host Host) *Failure {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return nil
	}
	address, name := host.names()
	text := op.Err.Error()
	for _, a := range alerts {
		if !strings.Contains(text, a.text) {
			continue
		}
		meaning := a.meaning
		if c := host.Certificate; c != nil && a.text != "certificate required" {
			switch now := time.Now(); {
			case now.After(c.NotAfter):
				meaning = "it expired on " + date(c.NotAfter)
			case now.Before(c.NotBefore):
				meaning = "it is valid from " + date(c.NotBefore) + " only"
			case strings.Contains(a.text, "expired"):
				// Valid here, expired there.
				meaning = fmt.Sprintf("it has expired by the host's clock, although it is valid until %s", date(c.NotAfter))
			}
		}
		return New(Identity, "the host %s refused the certificate of context %s: %s", address, name, meaning).
			WithHint("See which certificate that is: gozen context show %s\n"+
				"Use another one: gozen context add %s --replace --address %s --cert FILE --key FILE", name, name, address)
	}
	if strings.Contains(text, "protocol version") {
		return New(Identity, "%s does not offer TLS 1.3, so it is no Gozen host", address)
	}
	return New(Identity, "the host %s ended the TLS handshake: %s", address, text)
}

// ofNetwork: there is no connection, or no longer.
func ofNetwork(err error, host Host) *Failure {
	address, name := host.names()
	show := fmt.Sprintf("Check the address: gozen context show %s", name)
	var (
		dns     *net.DNSError
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return New(Unreachable, "no host named %q is known here (context %s)", dns.Name, name).WithHint("%s", show)
	case errors.As(err, &dns):
		return New(Unreachable, "the name %q could not be looked up: %s", dns.Name, dns.Err).WithHint("%s", show)
	case errors.Is(err, syscall.ECONNREFUSED):
		return New(Unreachable, "%s refused the connection: nothing listens there", address).
			WithHint("Is the host up, and did it finish booting? Its console shows its address.\n%s", show)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return New(Unreachable, "there is no way to %s from here", address).
			WithHint("Is the host on, and this machine on its network?\n%s", show)
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		return New(Unreachable, "%s does not answer", address).
			WithHint("Is the host on, and port %s open on the way to it?\n%s", port(address), show)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return New(Timeout, "%s did not answer in time", address)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		// The HTTP/2 transport's own errors have no exported type.
		strings.Contains(err.Error(), "http2: "):
		f := New(Unreachable, "the connection to %s was cut", address).
			WithHint("Is the host still up? Look at its console.\n%s", show)
		f.Lost = true
		return f
	}
	return nil
}

// probeTimeout bounds Probe.
const probeTimeout = 3 * time.Second

// Probe finds out whether a connection broke because the host refused the admin's
// certificate. With TLS 1.3 the client's handshake is over before the host has
// looked at the certificate; when the client goes on sending, the host's alert can
// get lost behind a reset connection. Probe sends nothing, so an alert arrives. It
// returns that alert, or nil if there is none.
func Probe(ctx context.Context, cfg *tls.Config, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", address)
	if err == nil {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		// A host that accepts the certificate speaks first too (RFC 9113, 3.4).
		_, err = conn.Read(make([]byte, 1))
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return nil
}

func port(address string) string {
	if _, p, err := net.SplitHostPort(address); err == nil {
		return p
	}
	return contexts.DefaultPort
}
