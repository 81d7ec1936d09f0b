package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/dom0/cli/failure"
	"gozen/dom0/cli/guestspec"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func (a *app) guestStartCommand() *cobra.Command {
	var attach bool
	cmd := &cobra.Command{
		Use:     "start NAME...",
		Short:   "Start guests",
		Long:    "Start guests. The command returns when the first processor of each runs, or with\nthe reason why it does not.",
		Example: "  gozen guest start web\n  gozen guest start web db\n  gozen guest start web --attach   # see it boot",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, args []string) error {
			if attach && (len(args) > 1 || a.json()) {
				return usageError(cmd, "--attach takes one guest, and no -o json")
			}
			return a.forEach(func(ctx context.Context, h *host, name string) error {
				resp, err := callLong(ctx, h.Guests.Start, &gozenv1.StartGuestRequest{Name: name})
				if err != nil {
					return err
				}
				if attach {
					return a.attach(ctx, h, attachment{name: name, replay: true, escape: defaultEscape})
				}
				return a.done(resp.Guest, "guest %s started", name)
			})(cmd, args)
		},
	}
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "attach to the console at once")
	return cmd
}

// done shows the result of an operation on a guest.
func (a *app) done(g *gozenv1.Guest, format string, args ...any) error {
	if a.json() {
		return a.printJSON(g)
	}
	a.say(format, args...)
	return nil
}

func (a *app) guestStopCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop NAME...",
		Short: "Press the ACPI power button and wait until the guest is off",
		Long: "Press the ACPI power button of guests and wait until they are off. A guest that\n" +
			"does not stop within its timeout is killed, and the command says so.",
		Example: "  gozen guest stop web\n  gozen guest stop web db --timeout 2m",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, args []string) error {
			var override *durationpb.Duration
			if cmd.Flags().Changed("timeout") {
				if timeout <= 0 {
					return usageError(cmd, "--timeout %s: must be above 0; to end it at once: gozen guest kill", timeout)
				}
				override = durationpb.New(timeout)
			}
			return a.forEach(func(ctx context.Context, h *host, name string) error {
				resp, err := callLong(ctx, h.Guests.Stop, &gozenv1.StopGuestRequest{Name: name, Timeout: override})
				if err != nil {
					return err
				}
				if resp.Killed {
					a.note("guest %s did not stop by itself in time and was killed", name)
				}
				return a.done(resp.Guest, "guest %s stopped", name)
			})(cmd, args)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "time to stop by itself (default: the guest's own, 60s)")
	return cmd
}

func (a *app) guestKillCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "kill NAME...",
		Short:   "End guests at once, as if their power was cut",
		Example: "  gozen guest kill web",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeGuests,
		RunE: a.forEach(func(ctx context.Context, h *host, name string) error {
			resp, err := call(ctx, h.Guests.Kill, &gozenv1.KillGuestRequest{Name: name})
			if err != nil {
				return err
			}
			return a.done(resp.Guest, "guest %s killed", name)
		}),
	}
}

func (a *app) guestRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete", "remove"},
		Short:   "Forget stopped guests; their volumes stay",
		Example: "  gozen guest rm web\n  gozen guest rm --force web   # kill it first if it runs",
		Args:    atLeastOne("NAME"), ValidArgsFunction: a.completeGuests,
		RunE: a.forEach(func(ctx context.Context, h *host, name string) error {
			_, err := call(ctx, h.Guests.Delete, &gozenv1.DeleteGuestRequest{Name: name, Force: force})
			if err != nil {
				return err
			}
			a.say("guest %s removed; its volumes stay", name)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "kill the guest first when it runs")
	return cmd
}

func (a *app) guestWaitCommand() *cobra.Command {
	var (
		states  []string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait until a guest is in a state",
		Long: "Wait until a guest is in one of the states given by --for, and print which, with\n" +
			"the reason. When --timeout passes first, the exit code is 7.",
		Example: "  gozen guest wait web                     # until it is off or has crashed\n" +
			"  gozen guest wait web --for running --timeout 30s",
		Args: names("NAME"), ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &gozenv1.WaitGuestRequest{Name: args[0]}
			for _, name := range states {
				state, err := guestspec.ParseState(name)
				if err != nil {
					return usageError(cmd, "--for: %v", err)
				}
				req.States = append(req.States, state)
			}
			if timeout < 0 {
				return usageError(cmd, "--timeout %s: must not be negative", timeout)
			}
			h, err := a.connect()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				req.Timeout = durationpb.New(timeout)
				// The host keeps the time; this is for a host that does not answer.
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout+callTimeout)
				defer cancel()
			}
			resp, err := callLong(ctx, h.Guests.Wait, req)
			if err != nil {
				if f := failure.Of(err, a.host); f.Code == failure.Timeout {
					return failure.New(failure.Timeout, "guest %q was not %s within %s", args[0], strings.Join(states, " or "), timeout).
						WithHint("See what it does: gozen guest log %s", args[0])
				}
				return err
			}
			if a.json() {
				return a.printJSON(resp.Guest)
			}
			a.say("%s", stateSentence(resp.Guest))
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&states, "for", []string{"stopped", "crashed"}, "states to wait for: "+strings.Join(guestspec.States(), ", "))
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time (default never)")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(guestspec.States(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// stateSentence says what a guest is and why.
func stateSentence(g *gozenv1.Guest) string {
	state := guestspec.StateName(g.GetStatus().GetState())
	verb := "is " + state
	switch g.GetStatus().GetState() {
	case gozenv1.GuestState_GUEST_STATE_STOPPED, gozenv1.GuestState_GUEST_STATE_CRASHED:
		verb = "has " + state
	}
	text := "guest " + g.GetSpec().GetName() + " " + verb
	if why := printable(reason(g.GetStatus())); why != "" {
		text += ": " + why
	}
	return text
}
