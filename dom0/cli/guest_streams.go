package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"gozen/dom0/cli/failure"
	"gozen/dom0/cli/table"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// quietInterrupt makes the end of a stream by Ctrl-C an exit code without words:
// the admin knows.
func quietInterrupt(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return &failure.Failure{Code: failure.Interrupted, Err: err}
	}
	return err
}

func (a *app) guestLogCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:     "log NAME",
		Aliases: []string{"logs"},
		Short:   "Print what the host kept of a guest's console",
		Long: "Print what the host kept of a guest's console output, byte for byte. The host\n" +
			"keeps the last part only; when older output is gone, a note on standard error\n" +
			"says how much.",
		Example: "  gozen guest log web\n  gozen guest log -f web",
		Args:    names("NAME"), ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			stream, err := h.Guests.GetLog(cmd.Context(), connect.NewRequest(&gozenv1.GetGuestLogRequest{Name: args[0], Follow: follow}))
			if err != nil {
				return err
			}
			defer stream.Close()
			for first := true; stream.Receive(); first = false {
				msg := stream.Msg()
				if first && msg.Offset > 0 {
					a.note("(%s of older output are gone)", quantity.Bytes(msg.Offset))
				}
				if _, err := a.Out.Write(msg.Data); err != nil {
					return err
				}
			}
			return quietInterrupt(cmd.Context(), stream.Err())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what the guest prints from now on")
	return cmd
}

func (a *app) guestEventsCommand() *cobra.Command {
	var follow, onlyNew bool
	cmd := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Show what happened to guests",
		Long: "Show what happened to all guests, or to one: created, starting, running, stopped,\n" +
			"crashed, restarting, lease, device-error and so on. With -o json every line is\n" +
			"one event.",
		Example: "  gozen guest events\n  gozen guest events web -f\n" +
			"  gozen guest events -f --new -o json | jq -r 'select(.kind==\"crashed\").guest'",
		Args: atMostOne, ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			if onlyNew && !follow {
				return usageError(cmd, "--new goes with --follow")
			}
			h, err := a.connect()
			if err != nil {
				return err
			}
			req := &gozenv1.GuestEventsRequest{Replay: !onlyNew, NoFollow: !follow}
			if len(args) == 1 {
				req.Name = args[0]
			}
			stream, err := h.Guests.Events(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			n := 0
			for stream.Receive() {
				n++
				if err := a.printEvent(stream.Msg().GetEvent()); err != nil {
					return err
				}
			}
			if n == 0 && stream.Err() == nil && !a.json() {
				a.note("Nothing has happened yet. Wait for it: gozen guest events -f")
			}
			return quietInterrupt(cmd.Context(), stream.Err())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().BoolVar(&onlyNew, "new", false, "with --follow: leave out what happened before")
	return cmd
}

func (a *app) printEvent(e *gozenv1.GuestEvent) error {
	if a.json() {
		return a.printJSONLine(e)
	}
	text := printable(e.GetMessage())
	if a.wide() && e.GetReasonCode() != "" {
		text += " [" + e.GetReasonCode() + "]"
	}
	_, err := fmt.Fprintf(a.Out, "%s  %-12s  %-12s  %s\n",
		e.GetTime().AsTime().Local().Format(time.DateTime), e.GetGuest(), e.GetKind(), text)
	return err
}

func (a *app) guestStatsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "stats NAME",
		Short:   "Show a guest's exit counters and resource use",
		Example: "  gozen guest stats web\n  gozen guest stats web -o json | jq .kvm.exits",
		Args:    names("NAME"), ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			stats, err := call(cmd.Context(), h.Guests.Stats, &gozenv1.GuestStatsRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(stats)
			}
			return a.printStats(args[0], stats)
		},
	}
}

func (a *app) printStats(name string, stats *gozenv1.GuestStatsResponse) error {
	var s sheet
	s.add("Guest", "%s", name)
	s.add("CPU time", "%s", stats.GetCpuTime().AsDuration().Round(time.Millisecond))
	s.add("Memory resident", "%s", quantity.Bytes(stats.GetGuestMemoryResidentBytes()))
	s.add("VMM private", "%s", quantity.Bytes(stats.GetVmmPrivateBytes()))
	if n := stats.GetExitsAtConsoleOpen(); n > 0 {
		s.add("Exits until its console", "%s", quantity.Count(n))
	}
	if err := s.print(a); err != nil {
		return err
	}
	t := table.New(table.Column{Title: "FROM"}, table.Column{Title: "COUNTER", Min: 20}, table.Column{Title: "VALUE", Right: true})
	rows := func(from string, counters map[string]uint64) {
		for _, k := range slices.Sorted(maps.Keys(counters)) {
			if counters[k] != 0 || a.wide() {
				t.Row(from, k, quantity.Count(counters[k]))
			}
		}
	}
	rows("vmm exits", stats.GetVmmExits())
	rows("kvm", stats.GetKvm())
	for _, d := range stats.GetDevices() {
		rows(d.GetName(), d.GetCounters())
	}
	if t.Len() == 0 {
		return nil
	}
	a.say("")
	return a.printTable(t)
}
