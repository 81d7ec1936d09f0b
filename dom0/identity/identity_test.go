package identity

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// talk makes a handshake over a socket pair and exchanges a byte each way. With
// TLS 1.3 a client learns of a refusal only when it reads.
func talk(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		if err := conn.Handshake(); err != nil {
			done <- err
			return
		}
		b := make([]byte, 1)
		if _, err := io.ReadFull(conn, b); err != nil {
			done <- err
			return
		}
		_, err = conn.Write(b)
		done <- err
	}()
	clientErr = func() error {
		raw, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		defer raw.Close()
		conn := tls.Client(raw, client)
		if err := conn.Handshake(); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{7}); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, make([]byte, 1))
		return err
	}()
	return <-done, clientErr
}

func TestHandshakes(t *testing.T) {
	ca := must[*CA](t)(NewCA("admins"))
	foreign := must[*CA](t)(NewCA("admins"))
	host := must[Pair](t)(ca.IssueHost([]string{"h1"}, []net.IP{net.IPv4(127, 0, 0, 1)}))
	self := must[Pair](t)(NewSelfSigned([]string{"h1"}))
	otherSelf := must[Pair](t)(NewSelfSigned([]string{"h1"}))
	admin := must[Pair](t)(ca.IssueAdmin("ada"))
	expired := must[Pair](t)(issue(adminTemplate("eve", time.Now().Add(-time.Minute)), ca))
	stranger := must[Pair](t)(foreign.IssueAdmin("ada"))
	serverOnly := must[Pair](t)(ca.IssueHost([]string{"h2"}, nil))
	selfAdmin := must[Pair](t)(issue(adminTemplate("ada", time.Now().Add(time.Hour)), nil))
	byCA := Trust{CAPEM: ca.CertPEM}
	pin := func(p Pair) Trust { return Trust{Fingerprint: must[string](t)(Fingerprint(p.CertPEM))} }

	cases := []struct {
		name    string
		host    Pair
		adminCA []byte
		client  Pair
		trust   Trust
		change  func(*tls.Config)
		refused string // who says no: "", "server" or "client"
	}{
		{name: "good", host: host, adminCA: ca.CertPEM, client: admin, trust: byCA},
		{name: "good by own name", host: host, adminCA: ca.CertPEM, client: admin, trust: Trust{CAPEM: ca.CertPEM, Name: "h1"}},
		{name: "good by address", host: host, adminCA: ca.CertPEM, client: admin, trust: Trust{CAPEM: ca.CertPEM, Name: "127.0.0.1"}},
		{name: "good by fingerprint", host: self, adminCA: ca.CertPEM, client: admin, trust: pin(self)},
		{name: "two authorities", host: host, adminCA: append(bytes.Clone(foreign.CertPEM), ca.CertPEM...), client: admin, trust: byCA},
		{name: "no certificate", host: host, adminCA: ca.CertPEM, client: admin, trust: byCA,
			change: func(c *tls.Config) { c.Certificates = nil }, refused: "server"},
		{name: "expired", host: host, adminCA: ca.CertPEM, client: expired, trust: byCA, refused: "server"},
		{name: "foreign authority of the same name", host: host, adminCA: ca.CertPEM, client: stranger, trust: byCA,
			// Sends the certificate even though the server did not name its issuer.
			change: func(c *tls.Config) {
				cert := c.Certificates[0]
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			}, refused: "server"},
		{name: "self-signed admin", host: host, adminCA: ca.CertPEM, client: selfAdmin, trust: byCA,
			change: func(c *tls.Config) {
				cert := c.Certificates[0]
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			}, refused: "server"},
		{name: "host certificate as client", host: host, adminCA: ca.CertPEM, client: serverOnly, trust: byCA, refused: "server"},
		{name: "host without authority", host: self, adminCA: nil, client: admin, trust: pin(self), refused: "server"},
		{name: "TLS 1.2", host: host, adminCA: ca.CertPEM, client: admin, trust: byCA,
			change: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, refused: "server"},
		{name: "another host's fingerprint", host: otherSelf, adminCA: ca.CertPEM, client: admin, trust: pin(self), refused: "client"},
		{name: "self-signed host, authority expected", host: self, adminCA: ca.CertPEM, client: admin, trust: byCA, refused: "client"},
		{name: "another name", host: host, adminCA: ca.CertPEM, client: admin, trust: Trust{CAPEM: ca.CertPEM, Name: "h9"}, refused: "client"},
		{name: "admin poses as host", host: admin, adminCA: ca.CertPEM, client: admin, trust: byCA, refused: "client"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := must[*tls.Config](t)(ServerConfig(c.host, c.adminCA))
			client := must[*tls.Config](t)(ClientConfig(c.client, c.trust))
			if c.change != nil {
				c.change(client)
			}
			serverErr, clientErr := talk(t, server, client)
			if (serverErr != nil) != (c.refused != "") || (clientErr != nil) != (c.refused != "") {
				t.Fatalf("server: %v; client: %v; want refused by %q", serverErr, clientErr, c.refused)
			}
			switch c.refused {
			case "server":
				if strings.Contains(serverErr.Error(), "remote error") {
					t.Errorf("refused by the client: %v", serverErr)
				}
			case "client":
				if !strings.Contains(serverErr.Error(), "remote error") {
					t.Errorf("refused by the server: %v", serverErr)
				}
			}
		})
	}
}

func TestServerSpeaksHTTP2(t *testing.T) {
	ca := must[*CA](t)(NewCA("a"))
	server := must[*tls.Config](t)(ServerConfig(must[Pair](t)(ca.IssueHost(nil, nil)), ca.CertPEM))
	if len(server.NextProtos) == 0 || server.NextProtos[0] != "h2" {
		t.Errorf("protocols are %v", server.NextProtos)
	}
}

func TestClientConfigRefuses(t *testing.T) {
	ca := must[*CA](t)(NewCA("a"))
	admin := must[Pair](t)(ca.IssueAdmin("ada"))
	for name, trust := range map[string]Trust{
		"nothing":     {},
		"both":        {CAPEM: ca.CertPEM, Fingerprint: "SHA256:" + strings.Repeat("00", 32)},
		"no PEM":      {CAPEM: []byte("x")},
		"fingerprint": {Fingerprint: "SHA256:1234"},
	} {
		if _, err := ClientConfig(admin, trust); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := LoadCA(admin); err == nil {
		t.Error("an admin's certificate was taken as an authority")
	}
}

func TestParseFingerprint(t *testing.T) {
	hexText := strings.Repeat("0a", 32)
	for _, text := range []string{hexText, "SHA256:" + hexText, "sha256:" + strings.ToUpper(hexText),
		strings.TrimSuffix(strings.Repeat("0A:", 32), ":")} {
		sum, err := ParseFingerprint(text)
		if err != nil || sum[0] != 10 || sum[31] != 10 {
			t.Errorf("%q: %v, %v", text, sum, err)
		}
	}
	for _, text := range []string{"", "SHA256:", hexText[2:], hexText + "00", "MD5:" + hexText, "zz" + hexText[2:]} {
		if _, err := ParseFingerprint(text); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

func TestAdminAuthoritySeparation(t *testing.T) {
	ca := must[*CA](t)(NewCA("a"))
	admin := must[Pair](t)(ca.IssueAdmin("ada"))
	cert := must[tls.Certificate](t)(admin.TLS())
	if cert.Leaf.IsCA || cert.Leaf.Subject.CommonName != "ada" {
		t.Errorf("unexpected leaf %+v", cert.Leaf.Subject)
	}
	// A leaf cannot sign further leaves.
	fake := &CA{Pair: admin, cert: cert.Leaf, key: cert.PrivateKey.(crypto.Signer)}
	leaf := must[tls.Certificate](t)(must[Pair](t)(fake.IssueAdmin("mallory")).TLS()).Leaf
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	opts.Roots.AddCert(ca.cert)
	opts.Intermediates.AddCert(cert.Leaf)
	if _, err := cert.Leaf.Verify(opts); err != nil {
		t.Errorf("the admin's own certificate: %v", err)
	}
	if _, err := leaf.Verify(opts); err == nil {
		t.Error("a leaf's signature was accepted")
	}
}

func TestLoadOrCreateHost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	first := must[Pair](t)(LoadOrCreateHost(dir, []string{"h"}))
	again := must[Pair](t)(LoadOrCreateHost(dir, []string{"renamed"}))
	if !bytes.Equal(first.CertPEM, again.CertPEM) || !bytes.Equal(first.KeyPEM, again.KeyPEM) {
		t.Error("the identity changed at the second start")
	}
	path := filepath.Join(dir, hostFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("scribble"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := must[Pair](t)(LoadOrCreateHost(dir, []string{"h"}))
	if bytes.Equal(fresh.CertPEM, first.CertPEM) {
		t.Error("the old identity came from nowhere")
	}
	if kept, err := os.ReadFile(path + ".broken"); err != nil || string(kept) != "scribble" {
		t.Errorf("the unusable file was not kept: %q, %v", kept, err)
	}
}
