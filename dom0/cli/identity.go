package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/cli/failure"
	"gozen/dom0/identity"
)

// Files of the admin's identity, in contexts.Store.IdentityDir.
const (
	caCertFile    = "ca.pem"
	caKeyFile     = "ca.key"
	adminCertFile = "admin.pem"
	adminKeyFile  = "admin.key"
)

func (a *app) identityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "identity",
		Short:   "Make and show this machine's admin CA and certificate",
		Example: "  gozen identity init\n  gozen identity show",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.identityInitCommand(), a.identityShowCommand())
	return cmd
}

func (a *app) identityInitCommand() *cobra.Command {
	var (
		name  string
		renew bool
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make an admin CA and an admin certificate",
		Long: `Make an admin CA and an admin certificate signed by it. Hosts are given the CA in
their seed, and then let in who has a certificate of it. The key of the CA stays on
this machine: who has it can make admins.

With --renew the CA stays and the admin certificate is made anew; contexts get it
with "gozen context add NAME --replace".`,
		Example: "  gozen identity init\n  gozen identity init --name alice@example.org\n  gozen identity init --renew",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			if name == "" {
				name = whoAmI()
			}
			ca, err := a.adminCA()
			switch {
			case err == nil && !renew:
				return failure.New(failure.Conflict, "there is an admin identity in %s already", a.store.IdentityDir()).
					WithHint("Hosts know this one; a new CA would lock you out of them.\nMake the admin certificate anew: gozen identity init --renew")
			case errors.Is(err, fs.ErrNotExist) && renew:
				return failure.New(failure.NotFound, "there is no admin identity yet").WithHint("Make one: gozen identity init")
			case errors.Is(err, fs.ErrNotExist):
				if ca, err = identity.NewCA("Gozen admins of " + name); err != nil {
					return err
				}
				if err := a.writePair(ca.Pair, caCertFile, caKeyFile); err != nil {
					return err
				}
			case err != nil:
				return err
			}
			admin, err := ca.IssueAdmin(name)
			if err != nil {
				return err
			}
			if err := a.writePair(admin, adminCertFile, adminKeyFile); err != nil {
				return err
			}
			if a.json() {
				return a.printIdentity()
			}
			a.say("identity of %s made in %s", name, a.store.IdentityDir())
			a.say("next: gozen seed create --hostname NAME -o seed.json")
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name in the certificate (default USER@MACHINE)")
	cmd.Flags().BoolVar(&renew, "renew", false, "keep the CA, make the admin certificate anew")
	_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions)
	return cmd
}

// whoAmI is USER@MACHINE.
func whoAmI() string {
	name := "admin"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		name += "@" + h
	}
	return name
}

// adminCA loads the admin's CA; fs.ErrNotExist when there is none.
func (a *app) adminCA() (*identity.CA, error) {
	dir := a.store.IdentityDir()
	cert, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("the CA in %s has lost its key: %w", dir, err)
	}
	ca, err := identity.LoadCA(identity.Pair{CertPEM: cert, KeyPEM: key})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return ca, nil
}

// writePair writes the key first: a certificate without its key is of no use.
func (a *app) writePair(p identity.Pair, certFile, keyFile string) error {
	dir := a.store.IdentityDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, keyFile), p.KeyPEM, 0o600, renameio.IgnoreUmask()); err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, certFile), p.CertPEM, 0o644, renameio.IgnoreUmask())
}

func (a *app) identityShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the admin CA and certificate of this machine",
		Example: "  gozen identity show",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error { return a.printIdentity() },
	}
}

func (a *app) printIdentity() error {
	dir := a.store.IdentityDir()
	data, err := os.ReadFile(filepath.Join(dir, adminCertFile))
	if errors.Is(err, fs.ErrNotExist) {
		return failure.New(failure.NotFound, "there is no admin identity in %s", dir).WithHint("Make one: gozen identity init")
	}
	if err != nil {
		return err
	}
	cert, err := contexts.ParseCertificate(data)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, adminCertFile), err)
	}
	if a.json() {
		return a.printValue(map[string]any{
			"admin": cert.Subject.CommonName, "issuer": cert.Issuer.CommonName, "valid_until": cert.NotAfter.UTC(), "directory": dir,
		})
	}
	var s sheet
	s.add("Admin", "%s", cert.Subject.CommonName)
	s.add("CA", "%s", cert.Issuer.CommonName)
	s.add("Valid until", "%s", validity(cert.NotAfter))
	s.add("Files", "%s", dir)
	return s.print(a)
}
