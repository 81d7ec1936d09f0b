package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func (a *app) hostCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "host",
		Short:   "Look at a host, its log, and switch it off",
		Example: "  gozen host info\n  gozen host log -f\n  gozen host reboot --yes",
	}
	makeGroup(cmd)
	cmd.AddCommand(a.hostInfoCommand(), a.hostLogCommand(),
		a.hostShutdownCommand("shutdown", "Stop all guests in order, then power the host off", "powers off", gozenv1.ShutdownMode_SHUTDOWN_MODE_POWER_OFF),
		a.hostShutdownCommand("reboot", "Stop all guests in order, then reboot the host", "reboots", gozenv1.ShutdownMode_SHUTDOWN_MODE_REBOOT))
	return cmd
}

func (a *app) hostInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Show what the host is, has, and gave away",
		Example: "  gozen host info\n  gozen host info -o json | jq -r .memoryFreeBytes",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			info, err := call(cmd.Context(), h.Hosts.GetInfo, &gozenv1.GetInfoRequest{})
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(info)
			}
			return a.printInfo(h, info)
		},
	}
}

func (a *app) printInfo(h *host, info *gozenv1.GetInfoResponse) error {
	var s sheet
	s.add("Host", "%s", info.Hostname)
	s.add("Context", "%s (%s)", h.context.Name, h.context.Address)
	s.add("Gozen", "%s", info.Version)
	s.add("Kernel", "%s", info.KernelRelease)
	s.add("Machine ID", "%s", info.MachineId)
	s.add("Up since", "%s", moment(info.BootTime))
	model := info.CpuModel
	if model != "" {
		model = ", " + model
	}
	s.add("Processors", "%d%s", info.Cpus, model)
	virt := info.Virtualization
	if virt == "" {
		virt = "none: the processor, or its firmware settings, offer no virtualization; guests cannot start"
	}
	s.add("Virtualization", "%s", virt)
	s.add("Memory", "%s: %s given to running guests, %s free for new ones",
		quantity.Bytes(info.MemoryTotalBytes), quantity.Bytes(info.MemoryGuestsBytes), quantity.Bytes(info.MemoryFreeBytes))
	if info.Dom0ResidentBytes != 0 { // not told by older hosts
		s.add("Host programs", "%s resident (PID 1 and the daemon)", quantity.Bytes(info.Dom0ResidentBytes))
	}
	if st := info.Storage; st != nil {
		free := fmt.Sprintf("%s, %s free", quantity.Bytes(st.SizeBytes), quantity.Bytes(st.FreeBytes))
		switch {
		case !st.Persistent:
			s.add("Storage", "IN MEMORY: guests and volumes are lost at power-off; %s", free)
		case st.Device == "":
			s.add("Storage", "%s, %s", st.Filesystem, free)
		default:
			s.add("Storage", "%s on %s, %s", st.Filesystem, st.Device, free)
		}
	}
	s.add("Guests", "%d running, %d in all", info.GuestsRunning, info.GuestsTotal)
	s.add("Platform", "%s", info.Platform)
	// What is down and has no address is of interest to few.
	nics := slices.DeleteFunc(slices.Clone(info.Interfaces), func(nic *gozenv1.HostInterface) bool {
		return !nic.Up && len(nic.Addresses) == 0 && !nic.Management && !a.wide()
	})
	s.addAll("Network", texts(nics, func(nic *gozenv1.HostInterface) string {
		text := strings.Join(append([]string{nic.Name}, nic.Addresses...), " ")
		if a.wide() {
			text += " " + nic.Mac
		}
		if !nic.Up {
			text += " (down)"
		}
		if nic.Management {
			text += " (management)"
		}
		return text
	}))
	s.add("Features", "%s", strings.Join(info.Features, " "))
	s.addAll("PROBLEMS", info.Problems)
	return s.print(a)
}

func (a *app) hostLogCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Print the host's own log, oldest first",
		Example: "  gozen host log\n  gozen host log -f | grep guest",
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			stream, err := h.Hosts.GetLog(cmd.Context(), connect.NewRequest(&gozenv1.GetHostLogRequest{Follow: follow}))
			if err != nil {
				return err
			}
			defer stream.Close()
			for stream.Receive() {
				if _, err := a.Out.Write(stream.Msg().Data); err != nil {
					return err
				}
			}
			return quietInterrupt(cmd.Context(), stream.Err())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on")
	return cmd
}

func (a *app) hostShutdownCommand(name, short, verb string, mode gozenv1.ShutdownMode) *cobra.Command {
	var (
		yes     bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long: short + ".\n\nEvery guest gets its ACPI power button pressed and has the time of --timeout to\n" +
			"stop by itself; then it is killed. Guests marked autostart start with the host.",
		Example: fmt.Sprintf("  gozen host %s\n  gozen host %s --yes --timeout 2m", name, name),
		Args:    names(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.connect()
			if err != nil {
				return err
			}
			req := &gozenv1.ShutdownRequest{Mode: mode}
			if cmd.Flags().Changed("timeout") {
				if timeout <= 0 {
					return usageError(cmd, "--timeout %s: must be above 0", timeout)
				}
				req.Timeout = durationpb.New(timeout)
			}
			if !yes {
				info, err := call(cmd.Context(), h.Hosts.GetInfo, &gozenv1.GetInfoRequest{})
				if err != nil {
					return err
				}
				question := fmt.Sprintf("Host %s %s and %s on it will stop.", info.Hostname, verb, plural(int(info.GuestsRunning), "running guest"))
				if err := a.confirm(cmd, yes, question+" Go on?"); err != nil {
					return err
				}
			}
			if _, err := callLong(cmd.Context(), h.Hosts.Shutdown, req); err != nil {
				return err
			}
			a.say("host %s %s once its guests have stopped", h.context.Name, verb)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&timeout, "timeout", 60*time.Second, "time the guests have to stop by themselves")
	return cmd
}
