package failure

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/identity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// serve answers TLS with cfg until the test ends and returns the address. What it
// serves says "unimplemented" to every call, which is enough to know that a call
// got through the handshake.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(gozenv1connect.NewHostServiceHandler(gozenv1connect.UnimplementedHostServiceHandler{}))
	srv := &http.Server{Handler: mux, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	return l.Addr().String()
}

func newCA(t *testing.T, name string) *identity.CA {
	t.Helper()
	ca, err := identity.NewCA(name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func serverConfig(t *testing.T, host identity.Pair, admins *identity.CA) *tls.Config {
	t.Helper()
	cfg, err := identity.ServerConfig(host, admins.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// sign makes a leaf with a validity of its own, which package identity does not.
func sign(t *testing.T, ca *identity.CA, notBefore, notAfter time.Time, usage x509.ExtKeyUsage, dns ...string) identity.Pair {
	t.Helper()
	parent, err := ca.TLS()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: dns,
		NotBefore: notBefore, NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, parent.Leaf, key.Public(), parent.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Pair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// call asks through the context and returns the explained error.
func call(t *testing.T, c *contexts.Context) *Failure {
	t.Helper()
	cfg, err := c.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: cfg, Protocols: protocols}
	defer transport.CloseIdleConnections()
	client := gozenv1connect.NewHostServiceClient(&http.Client{Transport: transport}, "https://"+c.Address)
	_, err = client.GetInfo(context.Background(), connect.NewRequest(&gozenv1.GetInfoRequest{}))
	if err == nil {
		t.Fatal("the call succeeded")
	}
	cert, err2 := c.Certificate()
	if err2 != nil {
		t.Fatal(err2)
	}
	host := Host{Context: c, Certificate: cert}
	f := Of(err, host)
	if f.Lost {
		if alert := Probe(context.Background(), cfg, c.Address); alert != nil {
			return Of(alert, host)
		}
	}
	return f
}

func TestHandshakes(t *testing.T) {
	ca, other := newCA(t, "CA of the host"), newCA(t, "another CA")
	now := time.Now()
	const day = 24 * time.Hour
	host, err := ca.IssueHost([]string{"lab"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	self, err := identity.NewSelfSigned([]string{"lab"})
	if err != nil {
		t.Fatal(err)
	}
	pin, err := identity.Fingerprint(self.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := ca.IssueAdmin("alice")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.IssueAdmin("mallory")
	if err != nil {
		t.Fatal(err)
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, c := range []struct {
		name          string
		host          identity.Pair
		admin         identity.Pair
		change        func(*contexts.Context)
		code          int
		message, hint string
	}{
		{name: "through", host: host, admin: admin, code: General, message: "not implemented"},
		{name: "through by fingerprint", host: self, admin: admin, code: General, message: "not implemented",
			change: func(c *contexts.Context) { c.CA, c.Fingerprint = nil, pin }},
		{name: "through by another name", host: host, admin: admin, code: General, message: "not implemented",
			change: func(c *contexts.Context) { c.ServerName = "lab" }},

		{name: "host of another CA", host: self, admin: admin, code: Identity,
			message: "was not signed by the CA of context lab", hint: "--fingerprint"},
		{name: "other fingerprint", host: host, admin: admin, code: Identity,
			message: "is not the host that context lab was made for", hint: "--replace",
			change: func(c *contexts.Context) { c.CA, c.Fingerprint = nil, pin }},
		{name: "expired host", host: sign(t, ca, now.Add(-2*day), now.Add(-day), server, identity.ServerName), admin: admin,
			code: Identity, message: "expired on " + date(now.Add(-day)), hint: "new one"},
		{name: "host not yet valid", host: sign(t, ca, now.Add(day), now.Add(2*day), server, identity.ServerName), admin: admin,
			code: Identity, message: "is valid from", hint: "clocks"},
		{name: "other name", host: host, admin: admin, code: Identity, message: "does not carry the name prod", hint: "lab",
			change: func(c *contexts.Context) { c.ServerName = "prod" }},
		{name: "admin's certificate on a host", host: sign(t, ca, now.Add(-day), now.Add(day), client, identity.ServerName), admin: admin,
			code: Identity, message: "was not accepted"},

		{name: "foreign admin", host: host, admin: foreign, code: Identity,
			message: "refused the certificate of context lab: it was signed by a CA that this host does not know", hint: "--cert FILE"},
		{name: "expired admin", host: host, admin: sign(t, ca, now.Add(-2*day), now.Add(-day), client), code: Identity,
			message: "refused the certificate of context lab: it expired on " + date(now.Add(-day))},
		{name: "admin not yet valid", host: host, admin: sign(t, ca, now.Add(day), now.Add(2*day), client), code: Identity,
			message: "it is valid from"},
		{name: "host's certificate as admin", host: host, admin: host, code: Identity, message: "refused the certificate of context lab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := &contexts.Context{Name: "lab", Address: serve(t, serverConfig(t, c.host, ca)),
				CA: ca.CertPEM, Cert: c.admin.CertPEM, Key: c.admin.KeyPEM}
			if c.change != nil {
				c.change(ctx)
			}
			f := call(t, ctx)
			if f.Code != c.code || !strings.Contains(f.Message, c.message) || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("code %d, message %q, hint %q; want %d, %q, %q\ncause: %v", f.Code, f.Message, f.Hint, c.code, c.message, c.hint, errors.Unwrap(f))
			}
		})
	}
}

func TestNotOurHost(t *testing.T) {
	ca := newCA(t, "CA")
	admin, err := ca.IssueAdmin("alice")
	if err != nil {
		t.Fatal(err)
	}
	host, err := ca.IssueHost([]string{"lab"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	context := func(address string) *contexts.Context {
		return &contexts.Context{Name: "lab", Address: address, CA: ca.CertPEM, Cert: admin.CertPEM, Key: admin.KeyPEM}
	}
	t.Run("old TLS", func(t *testing.T) {
		cfg := serverConfig(t, host, ca)
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if f := call(t, context(serve(t, cfg))); f.Code != Identity || !strings.Contains(f.Message, "does not offer TLS 1.3") {
			t.Errorf("%+v, cause %v", f, f.Err)
		}
	})
	for name, talk := range map[string]struct {
		answer string
		want   string
	}{
		"another protocol": {"220 mail.example.org ESMTP ready\r\n", "does not speak TLS"},
		"closes at once":   {"", "was cut"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = io.ReadFull(c, make([]byte, 16))
					_, _ = io.WriteString(c, talk.answer)
					c.Close()
				}
			}()
			if f := call(t, context(l.Addr().String())); f.Code != Unreachable || !strings.Contains(f.Message, talk.want) {
				t.Errorf("%+v, cause %v", f, f.Err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if f := call(t, context(l.Addr().String())); f.Code != Unreachable || !strings.Contains(f.Message, "refused the connection") {
			t.Errorf("%+v, cause %v", f, f.Err)
		}
	})
}
