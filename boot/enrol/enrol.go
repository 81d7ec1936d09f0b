package enrol

import (
	"fmt"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/identity"
	"gozen/dom0/seed"
)

// Enrolment is an admin and a host that know each other.
type Enrolment struct {
	Hostname string
	CA       *identity.CA
	Admin    identity.Pair
	Host     identity.Pair
}

// New makes the identities for a host.
func New(hostname string) (*Enrolment, error) {
	ca, err := identity.NewCA("gozen admins of " + hostname)
	if err != nil {
		return nil, fmt.Errorf("enrol %s: %w", hostname, err)
	}
	admin, err := ca.IssueAdmin("admin")
	if err != nil {
		return nil, fmt.Errorf("enrol %s: %w", hostname, err)
	}
	host, err := ca.IssueHost([]string{hostname}, nil)
	if err != nil {
		return nil, fmt.Errorf("enrol %s: %w", hostname, err)
	}
	return &Enrolment{Hostname: hostname, CA: ca, Admin: admin, Host: host}, nil
}

// Seed returns the host's seed: its name, its identity and its admins. The
// caller adds network and disk.
func (e *Enrolment) Seed() seed.Seed {
	return seed.Seed{
		Version:     seed.Version,
		Hostname:    e.Hostname,
		AdminCAPEM:  string(e.CA.CertPEM),
		HostCertPEM: string(e.Host.CertPEM),
		HostKeyPEM:  string(e.Host.KeyPEM),
	}
}

// Context returns the admin's side for the CLI.
func (e *Enrolment) Context(name, address string) *contexts.Context {
	return &contexts.Context{
		Name: name, Address: address,
		CA: e.CA.CertPEM, Cert: e.Admin.CertPEM, Key: e.Admin.KeyPEM,
	}
}
