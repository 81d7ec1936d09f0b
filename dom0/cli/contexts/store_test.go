package contexts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gozen/dom0/identity"
)

// newContext returns a sound context with an identity of its own.
func newContext(t *testing.T, name string) *Context {
	t.Helper()
	ca, err := identity.NewCA("test CA")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := ca.IssueAdmin("alice")
	if err != nil {
		t.Fatal(err)
	}
	return &Context{Name: name, Address: "192.0.2.7:8443", CA: ca.CertPEM, Cert: admin.CertPEM, Key: admin.KeyPEM}
}

func TestStore(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "gozen")}
	if _, err := s.Current(); !errors.Is(err, ErrNone) {
		t.Fatalf("Current of an empty store: %v", err)
	}
	if found, err := s.Names(); err != nil || len(found) != 0 {
		t.Fatalf("Names of an empty store: %v, %v", found, err)
	}
	lab, home := newContext(t, "lab"), newContext(t, "home")
	home.ServerName = "home.example.org"
	for _, c := range []*Context{lab, home} {
		if err := s.Add(c, false); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := s.Names(); err != nil || strings.Join(found, " ") != "home lab" {
		t.Errorf("Names: %v, %v", found, err)
	}
	if got, err := s.Load("home"); err != nil || cmp.Diff(home, got) != "" {
		t.Errorf("Load: %v\n%s", err, cmp.Diff(home, got))
	}
	if err := s.Add(lab, false); !errors.Is(err, ErrExists) {
		t.Errorf("Add twice: %v", err)
	}
	// Replaced by one that is known by its fingerprint, the old CA must not stay.
	lab.CA, lab.Fingerprint = nil, "SHA256:"+strings.Repeat("ab", 32)
	if err := s.Add(lab, true); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load("lab"); err != nil || cmp.Diff(lab, got) != "" {
		t.Errorf("Load: %v\n%s", err, cmp.Diff(lab, got))
	}
	if err := s.Use("lab"); err != nil {
		t.Fatal(err)
	}
	if name, err := s.Current(); err != nil || name != "lab" {
		t.Errorf("Current: %q, %v", name, err)
	}
	if err := s.Use("nowhere"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Use of none: %v", err)
	}
	if err := s.Remove("lab"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Current(); !errors.Is(err, ErrNone) {
		t.Errorf("Current after its removal: %v", err)
	}
	for _, err := range []error{s.Remove("lab"), func() error { _, err := s.Load("lab"); return err }()} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("after removal: %v", err)
		}
	}
}

func TestPrivateFiles(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "gozen")}
	if err := s.Add(newContext(t, "lab"), false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		s.Dir:                                   0o700,
		s.Path("lab"):                           0o700,
		filepath.Join(s.Path("lab"), "key.pem"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", path, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Context)
		want   string
	}{
		"name":        {func(c *Context) { c.Name = "../etc" }, "context name"},
		"no port":     {func(c *Context) { c.Address = "host" }, "address"},
		"no anchor":   {func(c *Context) { c.CA = nil }, "neither a CA nor a fingerprint"},
		"both":        {func(c *Context) { c.Fingerprint = strings.Repeat("ab", 32) }, "not by both"},
		"fingerprint": {func(c *Context) { c.CA, c.Fingerprint = nil, "abc" }, "fingerprint"},
		"CA":          {func(c *Context) { c.CA = []byte("nothing") }, "no certificate"},
		"key":         {func(c *Context) { c.Key = newContext(t, "x").Key }, "certificate and key"},
	} {
		ctx := newContext(t, "lab")
		c.change(ctx)
		if err := ctx.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, c.want)
		}
	}
}

func TestDefault(t *testing.T) {
	t.Setenv("GOZEN_CONFIG", "")
	t.Setenv("XDG_CONFIG_HOME", "/xdg")
	if s, err := Default(); err != nil || s.Dir != "/xdg/gozen" {
		t.Errorf("with XDG_CONFIG_HOME: %+v, %v", s, err)
	}
	t.Setenv("GOZEN_CONFIG", "/elsewhere")
	if s, err := Default(); err != nil || s.Dir != "/elsewhere" {
		t.Errorf("with GOZEN_CONFIG: %+v, %v", s, err)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"lab":                 "lab:8443",
		"lab.example.org:443": "lab.example.org:443",
		"192.0.2.7":           "192.0.2.7:8443",
		"192.0.2.7:18443":     "192.0.2.7:18443",
		"2001:db8::7":         "[2001:db8::7]:8443",
		"[2001:db8::7]":       "[2001:db8::7]:8443",
		"[2001:db8::7]:443":   "[2001:db8::7]:443",
		"[fe80::1%eth0]:443":  "[fe80::1%eth0]:443",
	} {
		if got, err := ParseAddress(in); err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                 "no host name",
		":8443":            "no host name",
		"https://lab:8443": "URL",
		"lab:":             "port must be",
		"lab:0":            "port must be",
		"lab:65536":        "port must be",
		"lab:https":        "port must be",
		"a:b:c":            "not HOST:PORT",
		"[lab":             "no host name",
		"[lab:1]":          "no IPv6",
		"two words":        "no host name",
	} {
		if got, err := ParseAddress(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q) = %q, %v; want an error with %q", in, got, err, want)
		}
	}
}

// What ParseAddress returns, it takes as it is.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"lab", "[::1]:1", "::1", "a:b", "[", "%", "[fe80::1%0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseAddress(got); err != nil || again != got {
			t.Fatalf("%q is %q, which is %q, %v", s, got, again, err)
		}
	})
}
