package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/cli/failure"
	"gozen/dom0/seed"
)

func (a *app) seedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "seed",
		Short:   "Make what a host reads at its first boot",
		Example: "  gozen seed create --hostname lab --data-disk /dev/vda --format-if-blank -o seed.json",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.seedCreateCommand(), a.seedCheckCommand())
	return cmd
}

// seedFlags are the flags of "seed create" as typed.
type seedFlags struct {
	seed.Seed
	out, adminCA string
	dhcp         bool
	static       string
	issueHost    bool
	contextName  string
	address      string
	force        bool
}

const seedLong = `Make a seed: whom a host obeys, its name, network and data disk. Put it onto the EFI
partition of the boot disk as /gozen/seed.json, or into the initial RAM disk as
/seed/seed.json.

The host obeys the CA of "gozen identity init", or that of --admin-ca. With
--issue-host-cert the seed carries a certificate for the host, signed by that CA, so
that you know the host at once; the seed then holds a private key. Without it the
host makes a certificate of its own and shows its fingerprint on its console.

With --add-context the host is remembered as well.`

func (a *app) seedCreateCommand() *cobra.Command {
	var f seedFlags
	cmd := &cobra.Command{
		Use:   "create --hostname NAME [flags]",
		Short: "Make a seed",
		Long:  seedLong,
		Example: `  gozen seed create --hostname lab -o seed.json
  gozen seed create --hostname lab --data-disk serial=S3Z9NX0M --format-if-blank \
      --issue-host-cert --add-context lab --address 192.0.2.7 -o seed.json
  gozen seed create --hostname lab --static 192.0.2.7/24 --gateway 192.0.2.1 --dns 192.0.2.1`,
		Args: names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.seedCreate(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.Hostname, "hostname", "", "name of the host")
	// This hides the -o of the other commands: a seed has one form only.
	fl.StringVarP(&f.out, "output", "o", "-", "file to write, - for standard output")
	fl.BoolVar(&f.force, "force", false, "overwrite the file")
	fl.StringVar(&f.DataDisk.Device, "data-disk", "", "disk for guests and volumes: /dev/NAME or serial=TEXT (default: state in memory)")
	fl.BoolVar(&f.DataDisk.FormatIfBlank, "format-if-blank", false, "allow to format the data disk when nothing is on it")
	fl.BoolVar(&f.dhcp, "dhcp", false, "address by DHCP (the default)")
	fl.StringVar(&f.static, "static", "", "fixed address with its prefix, such as 192.0.2.7/24")
	fl.StringVar(&f.Network.Gateway, "gateway", "", "with --static: the way out")
	fl.StringSliceVar(&f.Network.DNS, "dns", nil, "name servers")
	fl.StringVar(&f.Network.Interface, "interface", "", "management network interface (default: the first with a carrier)")
	fl.StringVar(&f.GuestNetwork.Subnet, "guest-subnet", "", "subnet of the guests' network (default "+seed.DefaultGuestSubnet+")")
	fl.BoolVar(&f.Isolated, "isolated", false, "keep guests from the outside")
	fl.StringVar(&f.adminCA, "admin-ca", "", "PEM file of the CA to obey (default: your own)")
	fl.BoolVar(&f.issueHost, "issue-host-cert", false, "put a certificate for the host into the seed")
	fl.StringVar(&f.contextName, "add-context", "", "remember the host under this name (needs --issue-host-cert and --address)")
	fl.StringVar(&f.address, "address", "", "with --add-context: where the host will answer (default: the address of --static)")
	return cmd
}

func (a *app) seedCreate(cmd *cobra.Command, f *seedFlags) error {
	switch {
	case f.Hostname == "":
		return usageError(cmd, "--hostname is missing")
	case f.dhcp && f.static != "":
		return usageError(cmd, "--dhcp and --static do not go together")
	case f.Network.Gateway != "" && f.static == "":
		return usageError(cmd, "--gateway goes with --static; with DHCP the server names it")
	case f.DataDisk.FormatIfBlank && f.DataDisk.Device == "":
		return usageError(cmd, "--format-if-blank goes with --data-disk")
	case f.issueHost && f.adminCA != "":
		return usageError(cmd, "--issue-host-cert needs the key of the CA, so it works with your own only, not with --admin-ca")
	case f.contextName != "" && !f.issueHost:
		return usageError(cmd, "--add-context needs --issue-host-cert: without it the host's fingerprint is known only when it has booted")
	}
	f.Network.Mode = seed.ModeDHCP
	if f.static != "" {
		f.Network.Mode, f.Network.Address = seed.ModeStatic, f.static
		if f.address == "" {
			f.address, _, _ = strings.Cut(f.static, "/")
		}
	}
	var c *contexts.Context
	if f.contextName != "" {
		c = &contexts.Context{Name: f.contextName}
		if f.address == "" {
			return usageError(cmd, "--add-context needs --address: where the host will answer")
		}
		var err error
		if c.Address, err = contexts.ParseAddress(f.address); err != nil {
			return usageError(cmd, "%v", err)
		}
	}
	if err := a.seedIdentity(f); err != nil {
		return err
	}
	text, err := f.Marshal()
	if err != nil {
		return err
	}
	if err := a.writeSeed(f, text); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	if err := a.readIdentity(c, "", "", ""); err != nil {
		return err
	}
	return a.addContext(c, true)
}

// seedIdentity puts the CA to obey and perhaps a host certificate into the seed.
func (a *app) seedIdentity(f *seedFlags) error {
	path := f.adminCA
	if path == "" {
		path = filepath.Join(a.store.IdentityDir(), caCertFile)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && f.adminCA == "" {
		return failure.New(failure.General, "there is no admin CA that the host could obey").
			WithHint("Make one: gozen identity init\nOr name another: --admin-ca FILE")
	}
	if err != nil {
		return err
	}
	f.AdminCAPEM = string(data)
	if !f.issueHost {
		return nil
	}
	ca, err := a.adminCA()
	if err != nil {
		return err
	}
	var ips []net.IP
	if host, _, err := net.SplitHostPort(f.address); err == nil {
		ips = appendIP(ips, host)
	} else {
		ips = appendIP(ips, f.address)
	}
	pair, err := ca.IssueHost([]string{f.Hostname}, ips)
	if err != nil {
		return err
	}
	f.HostCertPEM, f.HostKeyPEM = string(pair.CertPEM), string(pair.KeyPEM)
	return nil
}

func appendIP(ips []net.IP, text string) []net.IP {
	if ip := net.ParseIP(text); ip != nil {
		return append(ips, ip)
	}
	return ips
}

func (a *app) writeSeed(f *seedFlags, text []byte) error {
	if f.out == "-" {
		_, err := a.Out.Write(text)
		return err
	}
	if _, err := os.Stat(f.out); err == nil && !f.force {
		return failure.New(failure.Conflict, "%s is there already", f.out).WithHint("Overwrite it with --force.")
	}
	// It may hold the host's private key.
	if err := renameio.WriteFile(f.out, text, 0o600); err != nil {
		return err
	}
	a.note("seed for host %s written to %s", f.Hostname, f.out)
	return nil
}

func (a *app) seedCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE",
		Short:   "Check a seed as the host would",
		Example: "  gozen seed check seed.json",
		Args:    names("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			s, err := seed.Parse(text)
			if err != nil {
				return err
			}
			disk := "in memory"
			if s.DataDisk.Device != "" {
				disk = "on " + s.DataDisk.Device
			}
			a.say("%s is sound: host %s, state %s, network by %s", args[0],
				cmp.Or(s.Hostname, seed.DefaultHostname), disk, cmp.Or(s.Network.Mode, seed.ModeDHCP))
			return nil
		},
	}
}
