package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/cli/failure"
)

// Streams are what a command reads and writes.
type Streams struct {
	In       *os.File
	Out, Err io.Writer
}

// app is one run of the command line.
type app struct {
	Streams
	store       *contexts.Store
	contextName string // --context
	output      string // -o
	host        failure.Host
}

// Main runs a command line (without the program's name) and returns the exit
// code. It ends early, and in order, on SIGINT, SIGTERM and SIGHUP.
func Main(args []string, streams Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	a := &app{Streams: streams}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return failure.OK
	}
	f := a.explain(ctx, err)
	if ctx.Err() != nil && f.Code != failure.OK {
		f.Code = failure.Interrupted
	}
	if f.Code == failure.NotFound && f.Hint == "" && cmd.HasParent() {
		if _, _, err := cmd.Parent().Find([]string{"ls"}); err == nil {
			f.Hint = "See what there is: " + cmd.Parent().CommandPath() + " ls"
		}
	}
	a.report(f)
	return f.Code
}

// explain returns an error as a failure. When the connection broke, it asks the
// host whether that was on purpose.
func (a *app) explain(ctx context.Context, err error) *failure.Failure {
	f := failure.Of(err, a.host)
	if !f.Lost || ctx.Err() != nil {
		return f
	}
	cfg, err := a.host.Context.TLSConfig()
	if err != nil {
		return f
	}
	if alert := failure.Probe(ctx, cfg, a.host.Context.Address); alert != nil {
		return failure.Of(alert, a.host)
	}
	return f
}

// report writes a failure to the error stream.
func (a *app) report(f *failure.Failure) {
	if f.Message == "" {
		return
	}
	fmt.Fprintf(a.Err, "gozen: %s\n", strings.TrimRight(f.Message, "\n"))
	for line := range strings.SplitSeq(f.Hint, "\n") {
		if line != "" {
			fmt.Fprintf(a.Err, "  %s\n", line)
		}
	}
}

const rootLong = `gozen manages Gozen hosts and the guests on them, over mutual TLS.

A context names a host and the identity to use there. The first steps:

  gozen identity init                        make this machine an admin host
  gozen seed create --hostname lab --issue-host-cert -o seed.json
                                             what the host reads when it boots
  gozen context add lab --address lab:8443   remember the host
  gozen host info                            see that it answers

Then a guest, from files at hand:

  gozen image upload linux vmlinuz
  gozen volume upload root debian.raw
  gozen guest create web --kernel linux --disk root \
      --cmdline "root=/dev/vda1 console=hvc0" --start
  gozen guest console web`

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "gozen",
		Short:         "Manage Gozen hosts and their guests",
		Long:          rootLong,
		Version:       clientVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.prepare(cmd)
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.PersistentFlags().StringVar(&a.contextName, "context", "", "host to talk to (default $GOZEN_CONTEXT, then the one in use)")
	cmd.PersistentFlags().StringVarP(&a.output, "output", "o", outputTable, "output format: table, wide or json")
	_ = cmd.RegisterFlagCompletionFunc("context", a.completeContexts)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputTable, outputWide, outputJSON}, cobra.ShellCompDirectiveNoFileComp))
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(cmd, "%v", err)
	})
	cmd.AddGroup(
		&cobra.Group{ID: "guests", Title: "Guests and what they are made of:"},
		&cobra.Group{ID: "hosts", Title: "Hosts:"},
	)
	group := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
			cmd.AddCommand(c)
		}
	}
	group("guests", a.guestCommand(), a.volumeCommand(), a.imageCommand())
	group("hosts", a.hostCommand(), a.contextCommand(), a.identityCommand(), a.seedCommand())
	cmd.AddCommand(a.versionCommand(), a.completionCommand())
	makeGroup(cmd)
	return cmd
}

// prepare runs before every command: it opens the store and checks the global
// flags.
func (a *app) prepare(cmd *cobra.Command) error {
	if f := cmd.Flags().Lookup("output"); f != nil && f == cmd.Root().PersistentFlags().Lookup("output") {
		switch a.output {
		case outputTable, outputWide, outputJSON:
		default:
			return usageError(cmd, "output format %q: want table, wide or json", a.output)
		}
	}
	if a.store != nil {
		return nil
	}
	var err error
	a.store, err = contexts.Default()
	return err
}

// makeGroup makes a command that only holds others: alone it shows its help, and
// an unknown subcommand is an error with suggestions.
func makeGroup(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		f := failure.New(failure.Usage, "unknown command %q for %q", args[0], cmd.CommandPath())
		var hint strings.Builder
		for _, s := range cmd.SuggestionsFor(args[0]) {
			fmt.Fprintf(&hint, "Did you mean: %s %s\n", cmd.CommandPath(), s)
		}
		return f.WithHint("%sSee all: %s --help", hint.String(), cmd.CommandPath())
	}
}

// usageError is an error in the command line, with the way to the help.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	return failure.New(failure.Usage, format, args...).
		WithHint("Usage: %s\nSee:   %s --help", cmd.UseLine(), cmd.CommandPath())
}

// names wants exactly the given arguments.
func names(want ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(want):
			return usageError(cmd, "%s is missing", want[len(args)])
		case len(args) > len(want):
			return usageError(cmd, "unexpected argument %q", args[len(want)])
		}
		return nil
	}
}

// atLeastOne wants one or more arguments.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError(cmd, "%s is missing", what)
		}
		return nil
	}
}

// atMostOne wants one argument or none.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError(cmd, "unexpected argument %q", args[1])
	}
	return nil
}

// each calls do for every name. It goes on after a failure and returns the last
// one; the others are reported at once.
func (a *app) each(ctx context.Context, names []string, do func(name string) error) error {
	var last error
	for _, name := range names {
		if last != nil && ctx.Err() != nil {
			break
		}
		err := do(name)
		if err == nil {
			continue
		}
		if last != nil {
			a.report(a.explain(ctx, last))
		}
		last = err
	}
	return last
}

// forEach is what a command runs that does the same on the host for every name.
func (a *app) forEach(do func(ctx context.Context, h *host, name string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, names []string) error {
		h, err := a.connect()
		if err != nil {
			return err
		}
		return a.each(cmd.Context(), names, func(name string) error { return do(cmd.Context(), h, name) })
	}
}

// isTerminal tells whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks before something that cannot be undone. Without a terminal the
// answer must be on the command line.
func (a *app) confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.In) || !isTerminal(a.Err) {
		return usageError(cmd, "%s Nobody is at the terminal to ask: add --yes", question)
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		var line [64]byte
		n, _ := a.In.Read(line[:])
		answer <- strings.ToLower(strings.TrimSpace(string(line[:n])))
	}()
	select {
	case <-cmd.Context().Done():
		fmt.Fprintln(a.Err)
		return failure.New(failure.Interrupted, "not done")
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return failure.New(failure.General, "not done")
	}
}

// now is the time for ages.
func now() time.Time { return time.Now() }
