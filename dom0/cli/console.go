package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/failure"
	"gozen/dom0/cli/terminal"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// defaultEscape is Ctrl-], as in telnet and virsh.
const defaultEscape = 0x1d

// attachment is what to do on a guest's console.
type attachment struct {
	name   string
	replay bool
	escape int    // key that detaches when input is a terminal
	until  string // ends when the guest printed this
}

const consoleLong = `Attach to a guest's console, both ways.

On a terminal every key goes to the guest, Ctrl-C too. Ctrl-] detaches and
leaves the guest running; --escape takes another key. The window's size goes to
the guest as well.

Standard input and output may be pipes: bytes pass unchanged and no key detaches.
At the end of the input the output goes on, until the guest stops, --until finds
its text (exit code 0), --timeout passes (exit code 7), or SIGINT, SIGTERM or
SIGHUP comes (exit code 130).`

func (a *app) guestConsoleCommand() *cobra.Command {
	var (
		at      attachment
		escape  string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:     "console NAME",
		Aliases: []string{"attach"},
		Short:   "Attach to a guest's console; Ctrl-] detaches",
		Long:    consoleLong,
		Example: "  gozen guest console web\n" +
			"  gozen guest console web --replay      # with what it printed before\n" +
			"  gozen guest console web --until 'login: ' --timeout 60s </dev/null\n" +
			"  printf 'root\\nuname -a\\n' | gozen guest console web --timeout 5s",
		Args: names("NAME"), ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.json() {
				return usageError(cmd, "a console has no JSON form")
			}
			var err error
			if at.escape, err = terminal.ParseEscape(escape); err != nil {
				return usageError(cmd, "--escape: %v", err)
			}
			if timeout < 0 {
				return usageError(cmd, "--timeout %s: must not be negative", timeout)
			}
			at.name = args[0]
			// A text that the guest printed just before must not be missed.
			at.replay = at.replay || (at.until != "" && !cmd.Flags().Changed("replay"))
			h, err := a.connect()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				late := failure.New(failure.Timeout, "guest %q: --timeout of %s passed", at.name, timeout)
				if at.until != "" {
					late = failure.New(failure.Timeout, "guest %q did not print %q within %s", at.name, at.until, timeout)
				}
				// No deadline: that would go to the host, which could end the call before.
				var cancel context.CancelCauseFunc
				ctx, cancel = context.WithCancelCause(ctx)
				defer cancel(nil)
				defer time.AfterFunc(timeout, func() { cancel(late) }).Stop()
			}
			return a.attach(ctx, h, at)
		},
	}
	cmd.Flags().BoolVar(&at.replay, "replay", false, "print what the host kept of the output first (default with --until)")
	cmd.Flags().StringVar(&escape, "escape", "ctrl-]", "key that detaches: ctrl-X, or none")
	cmd.Flags().StringVar(&at.until, "until", "", "end when the guest printed this text")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "end after this time (default never)")
	return cmd
}

// attach runs a console until it is detached, cut, or the guest is off, and says
// which on the error stream.
func (a *app) attach(ctx context.Context, h *host, at attachment) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := h.Guests.Console(ctx)
	// io.EOF means that the host has answered already; Receive says what.
	if err := stream.Send(&gozenv1.ConsoleRequest{Name: at.name, Replay: at.replay}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if isTerminal(a.In) {
		leave := "no key detaches"
		if at.escape != terminal.NoEscape {
			leave = terminal.EscapeName(at.escape) + " detaches"
		}
		a.note("Console of guest %s; %s. If nothing shows, press Enter.", at.name, leave)
	}
	// The HTTP/2 client does not look at the context while it waits for more of an
	// answer whose request is still open, as a console's is: somebody has to close
	// the answer for Receive to return.
	defer context.AfterFunc(ctx, func() { _ = stream.CloseResponse() })()
	session := &terminal.Session{In: a.In, Out: a.Out, Escape: at.escape, Until: at.until, Cancel: cancel}
	end, err := session.Run(ctx, stream)
	switch {
	case end == terminal.Detached:
		a.note("\r\nDetached; guest %s goes on. Attach again: gozen guest console %s", at.name, at.name)
		return nil
	case end == terminal.Found:
		return nil
	case err != nil && ctx.Err() != nil:
		var late *failure.Failure
		if errors.As(context.Cause(ctx), &late) {
			return late
		}
		return quietInterrupt(ctx, err)
	case err != nil:
		if f := failure.Of(err, a.host); f.Code == failure.Conflict && f.Hint == "" {
			return f.WithHint("Start it and attach: gozen guest start %s --attach\nWhat it printed last: gozen guest log %s", at.name, at.name)
		}
		return err
	}
	return a.ended(h, at.name)
}

// ended says why a console ended by itself.
func (a *app) ended(h *host, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := call(ctx, h.Guests.Get, &gozenv1.GetGuestRequest{Name: name})
	if err != nil {
		if failure.Of(err, a.host).Code == failure.NotFound {
			a.note("\r\nGuest %s was removed.", name)
			return nil
		}
		return err
	}
	switch resp.Guest.GetStatus().GetState() {
	case gozenv1.GuestState_GUEST_STATE_RUNNING:
		return failure.New(failure.General, "the host closed the console, but guest %q runs", name).
			WithHint("Attach again: gozen guest console %s", name)
	case gozenv1.GuestState_GUEST_STATE_STARTING:
		a.note("\r\nGuest %s is being started again. Attach: gozen guest console %s", name, name)
		return nil
	}
	text := stateSentence(resp.Guest)
	a.note("\r\n%s", strings.ToUpper(text[:1])+text[1:])
	return nil
}
