package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
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

// Ways to end a console that are no failures.
var (
	errDetached = errors.New("detached")
	errFound    = errors.New("found the text")
)

const consoleLong = `Attach to a guest's console, both ways.

On a terminal every key goes to the guest, Ctrl-C too. Ctrl-] detaches and
leaves the guest running; --escape takes another key. The window's size goes to
the guest as well.

Standard input and output may be pipes: bytes pass unchanged and no key detaches.
At the end of the input the output goes on, until the guest stops, --until finds
its text (exit code 0), or --timeout passes (exit code 7).`

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
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, timeout, late)
				defer cancel()
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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream := h.guests.Console(ctx)
	if err := stream.Send(&gozenv1.ConsoleRequest{Name: at.name, Replay: at.replay}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s := &session{app: a, at: at, stream: stream, cancel: cancel, input: make(chan *gozenv1.ConsoleRequest)}
	end, err := s.run(ctx)
	switch {
	case errors.Is(end, errDetached):
		a.note("\r\nDetached; guest %s goes on. Attach again: gozen guest console %s", at.name, at.name)
		return nil
	case errors.Is(end, errFound):
		return nil
	case err != nil && ctx.Err() != nil:
		var late *failure.Failure
		if errors.As(context.Cause(ctx), &late) {
			return late
		}
		return quietInterrupt(ctx, err)
	case err != nil:
		return err
	}
	return a.ended(h, at.name)
}

// ended says why a console ended by itself.
func (a *app) ended(h *host, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := call(ctx, h.guests.Get, &gozenv1.GetGuestRequest{Name: name})
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

// session is one attached console.
type session struct {
	*app
	at     attachment
	stream *connect.BidiStreamForClient[gozenv1.ConsoleRequest, gozenv1.ConsoleResponse]
	cancel context.CancelCauseFunc
	input  chan *gozenv1.ConsoleRequest // to the one goroutine that may send
	guard  func()
}

// run moves bytes until one side ends. end is why this side ended it, err what
// the stream said.
func (s *session) run(ctx context.Context) (end, err error) {
	s.guard = func() {}
	key := terminal.NoEscape
	if isTerminal(s.In) {
		key = s.at.escape
		leave := "it cannot be left by a key"
		if key != terminal.NoEscape {
			leave = terminal.EscapeName(key) + " detaches"
		}
		s.note("Console of guest %s: %s. If nothing shows, press Enter.", s.at.name, leave)
		raw, err := terminal.MakeRaw(s.In)
		if err != nil {
			return nil, err
		}
		defer raw.Restore()
		s.guard = raw.Guard
		sizes, stop := terminal.Sizes(s.In)
		defer stop()
		go s.sendSizes(ctx, sizes)
	}
	go s.send(ctx)
	go s.readInput(ctx, key)
	finder := terminal.NewFinder(s.at.until)
	for {
		msg, err := s.stream.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if cause := context.Cause(ctx); errors.Is(cause, errDetached) {
				return cause, nil
			}
			return nil, err
		}
		if _, err := s.Out.Write(msg.Data); err != nil {
			return nil, err
		}
		if finder.Feed(msg.Data) {
			return errFound, nil
		}
	}
}

// readInput passes on what is typed or piped in.
func (s *session) readInput(ctx context.Context, key int) {
	defer s.guard()
	buf := make([]byte, 16<<10)
	for {
		n, err := s.In.Read(buf)
		data, detach := terminal.Input(buf[:n], key)
		if len(data) > 0 && !s.queue(ctx, &gozenv1.ConsoleRequest{Data: append([]byte(nil), data...)}) {
			return
		}
		if detach {
			s.cancel(errDetached)
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) sendSizes(ctx context.Context, sizes <-chan [2]int) {
	defer s.guard()
	for {
		select {
		case <-ctx.Done():
			return
		case size := <-sizes:
			s.queue(ctx, &gozenv1.ConsoleRequest{Size: &gozenv1.TerminalSize{Columns: uint32(size[0]), Rows: uint32(size[1])}})
		}
	}
}

func (s *session) queue(ctx context.Context, msg *gozenv1.ConsoleRequest) bool {
	select {
	case <-ctx.Done():
		return false
	case s.input <- msg:
		return true
	}
}

// send is the only goroutine that sends. When sending fails, receiving says why.
func (s *session) send(ctx context.Context) {
	defer s.guard()
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-s.input:
			if err := s.stream.Send(msg); err != nil {
				return
			}
		}
	}
}
