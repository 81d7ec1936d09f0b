package seed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testPair makes a self-signed certificate and its key.
func testPair(t testing.TB, ca bool) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestRoundTrip(t *testing.T) {
	ca, _ := testPair(t, true)
	cert, key := testPair(t, false)
	want := Seed{
		Version: 1, Hostname: "host-1.example", AdminCAPEM: ca + ca, HostCertPEM: cert, HostKeyPEM: key,
		Network: Network{Interface: "enp1s0", Mode: ModeStatic, Address: "192.0.2.5/24",
			Gateway: "192.0.2.1", DNS: []string{"192.0.2.1", "198.51.100.1"}},
		DataDisk:     DataDisk{Device: "serial=GOZEN DATA", FormatIfBlank: true},
		GuestNetwork: GuestNetwork{Subnet: "10.1.0.0/16"},
		Isolated:     true,
	}
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("the seed changed on its way (-want +got):\n%s", diff)
	}
	if p := got.GuestSubnet().String(); p != "10.1.0.0/16" {
		t.Errorf("guest subnet %s", p)
	}
	if a := got.Network.Prefix().String(); a != "192.0.2.5/24" {
		t.Errorf("address %s", a)
	}
	if n := len(got.Network.DNSAddrs()); n != 2 {
		t.Errorf("%d name servers", n)
	}
}

func TestDefaults(t *testing.T) {
	s, err := Parse([]byte(`{"version":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.GuestSubnet().String() != DefaultGuestSubnet || s.Network.Static() || s.Network.Prefix().IsValid() || s.Network.GatewayAddr().IsValid() {
		t.Errorf("unexpected defaults: %+v", s)
	}
	text, err := (Seed{}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != "{\n  \"version\": 1\n}\n" {
		t.Errorf("smallest seed is %q", text)
	}
}

func TestParseErrors(t *testing.T) {
	cert, key := testPair(t, false)
	_, otherKey := testPair(t, false)
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	cases := []struct{ name, text, want string }{
		{"empty", " \n", "empty"},
		{"not JSON", "{\n\"version\": 1,\n nonsense}", "line 3"},
		{"cut", `{"version": 1, "hostname"`, "ends in the middle"},
		{"array", `[1]`, "top level"},
		{"null", `null`, "top level"},
		{"trailing", `{"version":1} {}`, "follows"},
		{"unknown", `{"version":1,"hostnam":"x"}`, `"hostnam"`},
		{"unknown below", `{"version":1,"network":{"adress":"x"}}`, `"adress"`},
		{"twice", `{"version":1,"network":{"mode":"dhcp","mode":"static"}}`, "network.mode: given twice"},
		{"letter case", `{"Version":1}`, "lower case"},
		{"deep", `{"version":1,"network":{"dns":[[[["x"]]]]}}`, "nested"},
		{"no version", `{}`, "version"},
		{"version 2", `{"version":2}`, "version: 2"},
		{"wrong type", `{"version":1,"isolated":"yes"}`, "isolated: a string stands where a bool"},
		{"wrong type below", `{"version":1,"network":{"dns":"x"}}`, "network.dns"},
		{"hostname", `{"version":1,"hostname":"a_b"}`, "hostname"},
		{"hostname dash", `{"version":1,"hostname":"-a"}`, "hostname"},
		{"hostname long", `{"version":1,"hostname":"` + strings.Repeat("a", 64) + `"}`, "at most 63"},
		{"ca", `{"version":1,"admin_ca_pem":"hello"}`, "admin_ca_pem: no PEM"},
		{"ca is leaf", `{"version":1,"admin_ca_pem":` + quote(cert) + `}`, "not a certificate authority"},
		{"ca is key", `{"version":1,"admin_ca_pem":` + quote(key) + `}`, "PRIVATE KEY"},
		{"cert alone", `{"version":1,"host_cert_pem":` + quote(cert) + `}`, "host_key_pem is missing"},
		{"key alone", `{"version":1,"host_key_pem":` + quote(key) + `}`, "host_cert_pem: missing"},
		{"foreign key", `{"version":1,"host_cert_pem":` + quote(cert) + `,"host_key_pem":` + quote(otherKey) + `}`, "pair"},
		{"interface", `{"version":1,"network":{"interface":"eth0/x"}}`, "network: interface"},
		{"mode", `{"version":1,"network":{"mode":"auto"}}`, "mode"},
		{"dhcp with address", `{"version":1,"network":{"address":"192.0.2.5/24"}}`, "static"},
		{"static alone", `{"version":1,"network":{"mode":"static"}}`, "address: missing"},
		{"no length", `{"version":1,"network":{"mode":"static","address":"192.0.2.5"}}`, "address"},
		{"broadcast", `{"version":1,"network":{"mode":"static","address":"192.0.2.255/24"}}`, "broadcast"},
		{"network address", `{"version":1,"network":{"mode":"static","address":"192.0.2.0/24"}}`, "network's own"},
		{"gateway outside", `{"version":1,"network":{"mode":"static","address":"192.0.2.5/24","gateway":"192.0.3.1"}}`, "not in 192.0.2.0/24"},
		{"gateway self", `{"version":1,"network":{"mode":"static","address":"192.0.2.5/24","gateway":"192.0.2.5"}}`, "own address"},
		{"dns", `{"version":1,"network":{"dns":["192.0.2.1","x"]}}`, "dns: entry 2"},
		{"device", `{"version":1,"data_disk":{"device":"vda"}}`, "device"},
		{"device climbs", `{"version":1,"data_disk":{"device":"/dev/../etc/x"}}`, "device"},
		{"serial", `{"version":1,"data_disk":{"device":"serial="}}`, "serial"},
		{"format nothing", `{"version":1,"data_disk":{"format_if_blank":true}}`, "device: missing"},
		{"subnet", `{"version":1,"guest_network":{"subnet":"10.0.0.1/24"}}`, "did you mean 10.0.0.0/24"},
		{"subnet small", `{"version":1,"guest_network":{"subnet":"10.0.0.0/30"}}`, "16 to 29"},
		{"subnet overlaps", `{"version":1,"network":{"mode":"static","address":"10.77.0.9/16"}}`, "overlaps"},
		{"size", strings.Repeat(" ", MaxSize+1), "more than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), "seed: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %q, want it to begin with \"seed: \" and contain %q", err, c.want)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	if _, err := (Seed{Hostname: "a b"}).Marshal(); err == nil {
		t.Error("an unsound seed was written")
	}
}

// FuzzParse checks that whatever is accepted is sound and survives a round trip.
func FuzzParse(f *testing.F) {
	ca, _ := testPair(f, true)
	full := Seed{Hostname: "h", AdminCAPEM: ca, Network: Network{Mode: ModeStatic, Address: "192.0.2.5/24", Gateway: "192.0.2.1", DNS: []string{"192.0.2.1"}},
		DataDisk: DataDisk{Device: "/dev/vda", FormatIfBlank: true}, GuestNetwork: GuestNetwork{Subnet: "10.0.0.0/24"}, Isolated: true}
	text, err := full.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"network":{"mode":"dhcp","dns":["192.0.2.1"]}}`))
	f.Add([]byte(`{"version":1,"version":1}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		// The accessors must not panic on what Parse accepted.
		s.GuestSubnet()
		s.Network.Prefix()
		s.Network.GatewayAddr()
		s.Network.DNSAddrs()
		again, err := s.Marshal()
		if err != nil {
			t.Fatalf("accepted but cannot be written: %v", err)
		}
		s2, err := Parse(again)
		if err != nil {
			t.Fatalf("accepted, but not after a round trip: %v", err)
		}
		text2, err := s2.Marshal()
		if err != nil || string(text2) != string(again) {
			t.Fatalf("the round trip is not stable: %v", err)
		}
	})
}
