package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/cli/failure"
	"gozen/dom0/cli/table"
	"gozen/dom0/identity"
	"gozen/dom0/quantity"
)

func (a *app) contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "context",
		Aliases: []string{"contexts", "ctx"},
		Short:   "Remember hosts, and choose one",
		Long: "A context is the address of a host and the identity to use there. Commands go to\n" +
			"the context in use, unless --context or GOZEN_CONTEXT names another.\n\n" +
			"Contexts are kept in ~/.config/gozen (GOZEN_CONFIG names another directory).",
		Example: "  gozen context add lab --address 192.0.2.7\n  gozen context use lab\n  gozen --context lab guest ls",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.contextAddCommand(), a.contextListCommand(), a.contextUseCommand(), a.contextRemoveCommand(), a.contextShowCommand())
	return cmd
}

func (a *app) contextAddCommand() *cobra.Command {
	var (
		c                      contexts.Context
		address, ca, cert, key string
		replace                bool
	)
	cmd := &cobra.Command{
		Use:   "add NAME --address HOST[:PORT]",
		Short: "Remember a host",
		Long: `Remember a host: its address, how to know it, and who to be there.

The host is known by the CA that signed its certificate (--ca), or, when it made
its certificate itself, by the fingerprint that its console shows (--fingerprint).
Without --cert, --key and --ca, those made by "gozen identity init" are taken. The
files are copied. The first context is also the one in use.`,
		Example: `  gozen context add lab --address 192.0.2.7
  gozen context add lab --address lab.example.org:8443 --fingerprint SHA256:3f7a…
  gozen context add lab --address 192.0.2.7 --ca ca.pem --cert me.pem --key me.key`,
		Args: names("NAME"), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Name = args[0]
			if err := contexts.CheckName(c.Name); err != nil {
				return usageError(cmd, "%v", err)
			}
			if address == "" {
				return usageError(cmd, "--address is missing; the host's console shows it")
			}
			var err error
			if c.Address, err = contexts.ParseAddress(address); err != nil {
				return usageError(cmd, "%v", err)
			}
			if c.Fingerprint != "" {
				if ca != "" {
					return usageError(cmd, "--ca and --fingerprint: a host is known by one of them")
				}
				if _, err := identity.ParseFingerprint(c.Fingerprint); err != nil {
					return usageError(cmd, "--fingerprint %q: want SHA256: and 64 hexadecimal digits, as the host's console shows it", c.Fingerprint)
				}
			}
			if (cert == "") != (key == "") {
				return usageError(cmd, "--cert and --key go together")
			}
			if err := a.readIdentity(&c, ca, cert, key); err != nil {
				return err
			}
			return a.addContext(&c, replace)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&address, "address", "", "host name or IP address, and port when it is not "+contexts.DefaultPort)
	fl.StringVar(&c.Fingerprint, "fingerprint", "", "SHA-256 of the host's certificate, as its console shows it")
	fl.StringVar(&ca, "ca", "", "PEM file of the CA that signed the host's certificate")
	fl.StringVar(&cert, "cert", "", "PEM file of your certificate")
	fl.StringVar(&key, "key", "", "PEM file of its key")
	fl.StringVar(&c.ServerName, "server-name", "", "name in the host's certificate (default "+identity.ServerName+", which Gozen puts into all)")
	fl.BoolVar(&replace, "replace", false, "overwrite a context of the same name")
	for _, name := range []string{"address", "fingerprint", "server-name"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

// readIdentity fills in certificates and key from files, and where none are named
// from the admin's own.
func (a *app) readIdentity(c *contexts.Context, ca, cert, key string) error {
	own := func(path *string, name string) {
		if *path == "" {
			*path = filepath.Join(a.store.IdentityDir(), name)
		}
	}
	own(&cert, adminCertFile)
	own(&key, adminKeyFile)
	files := map[string]*[]byte{cert: &c.Cert, key: &c.Key}
	if c.Fingerprint == "" {
		own(&ca, caCertFile)
		files[ca] = &c.CA
	}
	for path, data := range files {
		var err error
		*data, err = os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) == a.store.IdentityDir() {
			return failure.New(failure.General, "this machine has no admin identity yet").
				WithHint("Make one: gozen identity init\nOr name the files of another: --ca FILE --cert FILE --key FILE")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addContext stores a context and uses it if none is in use.
func (a *app) addContext(c *contexts.Context, replace bool) error {
	if err := a.store.Add(c, replace); err != nil {
		return err
	}
	current, err := a.store.Current()
	if errors.Is(err, contexts.ErrNone) {
		if err := a.store.Use(c.Name); err != nil {
			return err
		}
		current = c.Name
	}
	if current == c.Name {
		a.say("context %s added and in use; see if the host answers: gozen host info", c.Name)
	} else {
		a.say("context %s added; use it: gozen context use %s", c.Name, c.Name)
	}
	return nil
}

// contextView is a context in JSON, without secrets.
type contextView struct {
	Name        string    `json:"name"`
	InUse       bool      `json:"in_use"`
	Address     string    `json:"address"`
	ServerName  string    `json:"server_name"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Admin       string    `json:"admin"`
	Issuer      string    `json:"issuer"`
	ValidUntil  time.Time `json:"valid_until"`
	Directory   string    `json:"directory"`
	Problem     string    `json:"problem,omitempty"`
}

func (a *app) view(name string) contextView {
	v := contextView{Name: name, Directory: a.store.Path(name)}
	current, _ := a.chosen()
	v.InUse = name == current
	c, err := a.store.Load(name)
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	v.Address, v.ServerName, v.Fingerprint = c.Address, c.ServerName, c.Fingerprint
	if v.ServerName == "" {
		v.ServerName = identity.ServerName
	}
	cert, err := c.Certificate()
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	v.Admin, v.Issuer, v.ValidUntil = cert.Subject.CommonName, cert.Issuer.CommonName, cert.NotAfter.UTC()
	return v
}

// validity says until when a certificate is good.
func validity(until time.Time) string {
	if until.IsZero() {
		return ""
	}
	day := until.Format(time.DateOnly)
	if left := until.Sub(now()); left <= 0 {
		return "EXPIRED " + day
	} else if left < 30*24*time.Hour {
		return day + " (in " + quantity.Age(left) + ")"
	}
	return day
}

func (a *app) contextListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List contexts; a star marks the one in use",
		Example: "  gozen context ls",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			found, err := a.store.Names()
			if err != nil {
				return err
			}
			views := make([]contextView, len(found))
			for i, name := range found {
				views[i] = a.view(name)
			}
			if a.json() {
				return a.printValue(map[string]any{"contexts": views})
			}
			if len(views) == 0 {
				a.note("No contexts. Make one: gozen context add NAME --address HOST")
				return nil
			}
			t := table.New(table.Column{Title: " "}, table.Column{Title: "NAME", Min: 12}, table.Column{Title: "ADDRESS", Min: 12},
				table.Column{Title: "ADMIN", Min: 8}, table.Column{Title: "VALID UNTIL"}, table.Column{Title: "HOST KNOWN BY", Min: 12})
			for _, v := range views {
				star, by := " ", "CA"
				if v.InUse {
					star = "*"
				}
				if v.Fingerprint != "" {
					by = "fingerprint"
				}
				if v.Problem != "" {
					by = v.Problem
				}
				t.Row(star, v.Name, v.Address, v.Admin, validity(v.ValidUntil), by)
			}
			return a.printTable(t)
		},
	}
}

// printValue writes what is not a protobuf message as JSON.
func (a *app) printValue(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "use NAME",
		Short:   "Make a context the one in use",
		Example: "  gozen context use lab",
		Args:    names("NAME"), ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.store.Use(args[0]); err != nil {
				return err
			}
			a.say("context %s is in use", args[0])
			if name := os.Getenv("GOZEN_CONTEXT"); name != "" && name != args[0] {
				a.note("GOZEN_CONTEXT is set to %s and goes before it", name)
			}
			return nil
		},
	}
}

func (a *app) contextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete", "remove"},
		Short:   "Forget hosts; nothing changes there",
		Example: "  gozen context rm lab",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, func(name string) error {
				if err := a.store.Remove(name); err != nil {
					return err
				}
				a.say("context %s removed", name)
				return nil
			})
		},
	}
}

func (a *app) contextShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show [NAME]",
		Aliases: []string{"inspect"},
		Short:   "Show a context, the one in use without a name",
		Example: "  gozen context show\n  gozen context show lab -o json",
		Args:    atMostOne, ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			var name string
			if len(args) == 1 {
				name = args[0]
			} else {
				var err error
				if name, err = a.chosen(); err != nil {
					return err
				}
			}
			if _, err := a.store.Load(name); errors.Is(err, contexts.ErrNotFound) {
				return err
			}
			v := a.view(name)
			if a.json() {
				return a.printValue(v)
			}
			var s sheet
			s.add("Context", "%s", v.Name)
			s.add("In use", "%s", yesNo(v.InUse))
			s.add("Address", "%s", v.Address)
			if v.Fingerprint != "" {
				s.add("Host known by", "its fingerprint, %s", v.Fingerprint)
			} else if v.Problem == "" {
				s.add("Host known by", "a certificate for %s of the CA in %s", v.ServerName, filepath.Join(v.Directory, "ca.pem"))
			}
			if v.Admin != "" {
				s.add("You are", "%s (certificate by %s)", v.Admin, v.Issuer)
			}
			s.add("Valid until", "%s", validity(v.ValidUntil))
			s.add("Files", "%s", v.Directory)
			s.add("Problem", "%s", v.Problem)
			return s.print(a)
		},
	}
}
