package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/guestspec"
	"gozen/dom0/cli/table"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func (a *app) guestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "guest",
		Aliases: []string{"guests", "vm"},
		Short:   "Create, run and watch guests (virtual machines)",
		Example: "  gozen guest create web --kernel linux --disk root --cmdline \"root=/dev/vda1 console=hvc0\" --start\n" +
			"  gozen guest ls\n  gozen guest console web\n  gozen guest stop web",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.guestCreateCommand(), a.guestListCommand(), a.guestInspectCommand(),
		a.guestStartCommand(), a.guestStopCommand(), a.guestKillCommand(), a.guestRemoveCommand(),
		a.guestConsoleCommand(), a.guestLogCommand(), a.guestEventsCommand(), a.guestWaitCommand(), a.guestStatsCommand())
	return cmd
}

func (a *app) guestListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List guests",
		Example: "  gozen guest ls\n  gozen guest ls -o wide\n" +
			"  gozen guest ls -o json | jq -r '.guests[].spec.name'",
		Args: names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			list, err := call(cmd.Context(), h.Guests.List, &gozenv1.ListGuestsRequest{})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(list)
			}
			if len(list.Guests) == 0 {
				a.note("No guests on host %s. Create one: gozen guest create NAME --kernel IMAGE --disk VOLUME --start", h.context.Name)
				return nil
			}
			return a.printTable(a.guestTable(list.Guests))
		},
	}
}

func (a *app) guestTable(guests []*gozenv1.Guest) *table.Table {
	columns := []table.Column{
		{Title: "NAME", Min: 12},
		{Title: "STATE", Paint: a.paintState},
		{Title: "FOR", Right: true},
		{Title: "CPUS", Right: true},
		{Title: "MEMORY", Right: true},
		{Title: "ADDRESS", Min: 9},
		{Title: "REASON", Min: 12},
	}
	if a.wide() {
		columns = append(columns,
			table.Column{Title: "KERNEL"}, table.Column{Title: "DISKS"}, table.Column{Title: "RESTART"},
			table.Column{Title: "AUTOSTART"}, table.Column{Title: "PID", Right: true}, table.Column{Title: "LABELS"}, table.Column{Title: "ID"})
	}
	t := table.New(columns...)
	slices.SortFunc(guests, func(x, y *gozenv1.Guest) int { return cmp.Compare(x.GetSpec().GetName(), y.GetSpec().GetName()) })
	for _, g := range guests {
		spec, status := g.GetSpec(), g.GetStatus()
		row := []string{
			spec.GetName(), guestspec.StateName(status.GetState()), stateAge(g),
			fmt.Sprint(max(1, spec.GetVcpus())), quantity.Bytes(memory(spec)),
			strings.Join(addresses(status), ","), reason(status),
		}
		if a.wide() {
			row = append(row, spec.GetKernel(), strings.Join(texts(spec.GetDisks(), diskText), " "), guestspec.RestartName(spec.GetRestart()),
				yesNo(spec.GetAutostart()), pid(status), labels(spec), g.GetId())
		}
		t.Row(row...)
	}
	return t
}

// defaultMemory is what the API gives a guest whose spec names none, in bytes.
const defaultMemory = 256 * quantity.MiB

func memory(spec *gozenv1.GuestSpec) uint64 {
	if spec.GetMemoryBytes() == 0 {
		return defaultMemory
	}
	return spec.GetMemoryBytes()
}

// stateAge is how long the guest has been in its state.
func stateAge(g *gozenv1.Guest) string {
	switch g.GetStatus().GetState() {
	case gozenv1.GuestState_GUEST_STATE_STOPPED, gozenv1.GuestState_GUEST_STATE_CRASHED:
		return cmp.Or(age(g.GetStatus().GetEndedAt()), age(g.GetCreatedAt()))
	}
	return age(g.GetStatus().GetStartedAt())
}

func reason(status *gozenv1.GuestStatus) string {
	if n := len(status.GetDeviceErrors()); n > 0 && status.GetState() == gozenv1.GuestState_GUEST_STATE_RUNNING {
		return plural(n, "device") + " in error: " + status.DeviceErrors[0]
	}
	return status.GetReason()
}

func addresses(status *gozenv1.GuestStatus) []string {
	var out []string
	for _, nic := range status.GetNics() {
		if nic.GetAddress() != "" {
			out = append(out, nic.Address)
		}
	}
	return out
}

func pid(status *gozenv1.GuestStatus) string {
	if status.GetVmmPid() == 0 {
		return ""
	}
	return fmt.Sprint(status.VmmPid)
}

func labels(spec *gozenv1.GuestSpec) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(spec.GetLabels())) {
		out = append(out, k+"="+spec.Labels[k])
	}
	return strings.Join(out, ",")
}

func diskText(d *gozenv1.Disk) string {
	text := d.GetVolume()
	if d.GetReadOnly() {
		text += ",ro"
	}
	// A serial number that the host made of the volume's name says nothing new.
	if serial := d.GetSerial(); serial != "" && !strings.HasPrefix(d.GetVolume(), serial) {
		text += ",serial=" + d.Serial
	}
	return text
}

// texts writes each item.
func texts[T any](items []T, text func(T) string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = text(item)
	}
	return out
}

// paintState colours a guest's state on a terminal.
func (a *app) paintState(s string) string {
	if !isTerminal(a.Out) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return s
	}
	colours := map[string]string{"running": "32", "crashed": "31", "starting": "33", "stopping": "33"}
	if c, ok := colours[s]; ok {
		return "\x1b[" + c + "m" + s + "\x1b[0m"
	}
	return s
}

func (a *app) guestInspectCommand() *cobra.Command {
	first := true
	return &cobra.Command{
		Use:     "inspect NAME...",
		Aliases: []string{"show"},
		Short:   "Show everything about guests",
		Example: "  gozen guest inspect web\n" +
			"  gozen guest inspect web -o json | jq .spec > web.json",
		Args: atLeastOne("NAME"), ValidArgsFunction: a.completeGuests,
		RunE: a.forEach(func(ctx context.Context, h *host, name string) error {
			resp, err := call(ctx, h.Guests.Get, &gozenv1.GetGuestRequest{Name: name})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(resp.Guest)
			}
			if !first {
				a.say("")
			}
			first = false
			return a.printGuest(resp.Guest)
		}),
	}
}

func (a *app) printGuest(g *gozenv1.Guest) error {
	spec, status := g.GetSpec(), g.GetStatus()
	var s sheet
	s.add("Guest", "%s", spec.GetName())
	s.add("ID", "%s", g.GetId())
	state := guestspec.StateName(status.GetState())
	if since := stateAge(g); since != "" {
		state += " for " + since
	}
	s.add("State", "%s", state)
	why := status.GetReason()
	if status.GetReasonCode() != "" {
		why = strings.TrimPrefix(fmt.Sprintf("%s (%s)", why, status.ReasonCode), " ")
	}
	s.add("Reason", "%s", why)
	s.add("Created", "%s", moment(g.GetCreatedAt()))
	s.add("Started", "%s", moment(status.GetStartedAt()))
	s.add("Ended", "%s", moment(status.GetEndedAt()))
	limit := ""
	if spec.GetCpuLimitMillis() != 0 {
		limit = ", at most " + quantity.CPUs(spec.CpuLimitMillis) + " of the host's"
	}
	s.add("Processors", "%d%s", max(1, spec.GetVcpus()), limit)
	s.add("Memory", "%s", quantity.Bytes(memory(spec)))
	s.add("Kernel", "%s", spec.GetKernel())
	s.add("Initrd", "%s", spec.GetInitrd())
	s.add("Command line", "%s", spec.GetCmdline())
	s.addAll("Disk", texts(spec.GetDisks(), diskText))
	leases := make(map[string]*gozenv1.NicStatus)
	for _, n := range status.GetNics() {
		leases[n.GetMac()] = n
	}
	s.addAll("NIC", texts(spec.GetNics(), func(n *gozenv1.Nic) string {
		text := cmp.Or(n.GetNetwork(), "default")
		if n.GetMac() != "" {
			text += ", " + n.Mac
		}
		if st := leases[n.GetMac()]; st != nil {
			if st.GetAddress() != "" {
				text += ", " + st.Address
			}
			if st.GetVhost() {
				text += ", vhost"
			}
		}
		if n.GetUserspace() {
			text += ", userspace"
		}
		return text
	}))
	if rate := spec.GetEntropy().GetBytesPerSecond(); rate != 0 {
		s.add("Entropy", "%s/s", quantity.Bytes(rate))
	}
	if spec.GetVsock() {
		s.add("Vsock", "context %d", status.GetVsockCid())
	}
	s.add("Autostart", "%s", yesNo(spec.GetAutostart()))
	restart := guestspec.RestartName(spec.GetRestart())
	if n := status.GetRestarts(); n > 0 {
		restart += fmt.Sprintf(", %s so far", plural(int(n), "restart"))
	}
	s.add("Restart", "%s", restart)
	if t := spec.GetStopTimeout(); t.AsDuration() != 0 {
		s.add("Stop timeout", "%s", quantity.Age(t.AsDuration()))
	}
	if spec.GetEarlySerial() {
		s.add("Early serial", "yes")
	}
	s.add("Labels", "%s", labels(spec))
	s.add("VMM process", "%s", pid(status))
	s.addAll("Device error", status.GetDeviceErrors())
	return s.print(a)
}
