package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/dom0/cli/failure"
	"gozen/dom0/cli/guestspec"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// createFlags are the flags of "guest create" as typed.
type createFlags struct {
	file                          string
	vcpus                         uint32
	memory, cpuLimit, entropyRate string
	kernel, initrd, cmdline       string
	disks, nics, labels           []string
	autostart, vsock, earlySerial bool
	restart                       string
	stopTimeout                   time.Duration
	start, attach                 bool
}

const createLong = `Record a guest on the host, and start it with --start.

Disks are volumes, kernel and initrd are images; upload or create them first.
Disks appear in the guest as /dev/vda, /dev/vdb, … in the order given. Without
--nic the guest gets one network device on the network "default"; --nic none
gives it none. The console is hvc0, so a command line wants console=hvc0.

With -f the guest is read from a JSON file, the API's own GuestSpec, as
"gozen guest inspect -o json | jq .spec" writes it. Flags and NAME then change
what the file says.`

func (a *app) guestCreateCommand() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create [NAME] --kernel IMAGE [flags]",
		Short: "Create a guest",
		Long:  createLong,
		Example: `  gozen guest create web --kernel linux --initrd initrd --disk root --start \
      --cmdline "root=/dev/vda1 console=hvc0"
  gozen guest create db --kernel linux --disk root2 --disk tools,ro --vcpus 2 \
      --memory 2GiB --cpu-limit 1.5 --autostart --restart on-crash
  gozen guest create web2 -f web.json --start --attach`,
		Args: atMostOne, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.guestCreate(cmd, args, &f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.file, "file", "f", "", "read the guest from a JSON file, - for standard input")
	fl.StringVar(&f.kernel, "kernel", "", "image with a bzImage or an ELF vmlinux")
	fl.StringVar(&f.initrd, "initrd", "", "image with the initial RAM disk")
	fl.StringVar(&f.cmdline, "cmdline", "", `kernel command line (default "console=hvc0")`)
	fl.Uint32Var(&f.vcpus, "vcpus", 1, "number of processors")
	fl.StringVar(&f.memory, "memory", "256MiB", "memory, such as 512MiB or 2GiB")
	fl.StringArrayVar(&f.disks, "disk", nil, "disk, as "+guestspec.DiskForm+"; repeatable")
	fl.StringArrayVar(&f.nics, "nic", nil, "network device, as "+guestspec.NicForm+", or none; repeatable")
	fl.BoolVar(&f.start, "start", false, "start it at once")
	fl.BoolVarP(&f.attach, "attach", "a", false, "with --start: attach to its console")
	fl.BoolVar(&f.autostart, "autostart", false, "start it whenever the host starts")
	fl.StringVar(&f.restart, "restart", "never", "when to start it again: never, on-crash or always")
	fl.StringVar(&f.cpuLimit, "cpu-limit", "", "processor time, in CPUs, such as 1.5 (default no limit)")
	fl.StringVar(&f.entropyRate, "entropy-rate", "1MiB/s", "random bytes a second the guest may take")
	fl.DurationVar(&f.stopTimeout, "stop-timeout", 60*time.Second, "time it has to power off when asked to")
	fl.BoolVar(&f.vsock, "vsock", false, "give it a vsock device")
	fl.BoolVar(&f.earlySerial, "early-serial", false, "give it a serial port for early boot messages (earlycon=uart8250,io,0x3f8); slow")
	fl.StringArrayVar(&f.labels, "label", nil, "KEY=VALUE, for you and your programs; repeatable")
	for name, complete := range map[string]cobra.CompletionFunc{
		"kernel":  a.completeImagesOf(gozenv1.ImageKind_IMAGE_KIND_KERNEL),
		"initrd":  a.completeImagesOf(gozenv1.ImageKind_IMAGE_KIND_INITRD),
		"disk":    a.completeVolumes,
		"nic":     cobra.FixedCompletions([]string{"default", "none"}, cobra.ShellCompDirectiveNoFileComp),
		"restart": cobra.FixedCompletions(guestspec.RestartPolicies(), cobra.ShellCompDirectiveNoFileComp),
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, complete)
	}
	return cmd
}

func (a *app) guestCreate(cmd *cobra.Command, args []string, f *createFlags) error {
	spec := &gozenv1.GuestSpec{}
	if f.file != "" {
		var err error
		if spec, err = a.readSpec(f.file); err != nil {
			return err
		}
	}
	if len(args) == 1 {
		spec.Name = args[0]
	}
	if err := f.apply(cmd, spec); err != nil {
		return usageError(cmd, "%v", err)
	}
	switch {
	case spec.Name == "":
		return usageError(cmd, "the guest's NAME is missing")
	case spec.Kernel == "":
		return usageError(cmd, "guest %q: --kernel is missing; images there are: gozen image ls", spec.Name)
	case f.attach && !f.start:
		return usageError(cmd, "--attach goes with --start")
	case f.attach && a.json():
		return usageError(cmd, "--attach and -o json do not go together")
	}
	h, err := a.connect()
	if err != nil {
		return err
	}
	resp, err := callLong(cmd.Context(), h.Guests.Create, &gozenv1.CreateGuestRequest{Spec: spec, Start: f.start})
	if err != nil {
		return a.createFailed(cmd.Context(), h, spec.Name, f.start, err)
	}
	switch {
	case a.json():
		return a.printJSON(resp.Guest)
	case f.attach:
		return a.attach(cmd.Context(), h, attachment{name: spec.Name, replay: true, escape: defaultEscape})
	case f.start:
		a.say("guest %s created and started; see it: gozen guest console %s", spec.Name, spec.Name)
	default:
		a.say("guest %s created; start it: gozen guest start %s", spec.Name, spec.Name)
	}
	return nil
}

// createFailed tells a guest that could not be created from one that was, but
// could not be started.
func (a *app) createFailed(ctx context.Context, h *host, name string, start bool, err error) error {
	f := failure.Of(err, a.host)
	if !start || f.Code == failure.Unreachable || connect.CodeOf(err) == connect.CodeAlreadyExists {
		return err
	}
	if _, missing := call(ctx, h.Guests.Get, &gozenv1.GetGuestRequest{Name: name}); missing != nil {
		return err
	}
	return f.WithHint("Guest %s was created all the same. Start it again: gozen guest start %s\n"+
		"Or take it away: gozen guest rm %s", name, name, name)
}

// maxSpec bounds a specification file, in bytes.
const maxSpec = 1 << 20

func (a *app) readSpec(path string) (*gozenv1.GuestSpec, error) {
	in, name := a.In, "standard input"
	if path != "-" {
		var err error
		if in, err = os.Open(path); err != nil {
			return nil, err
		}
		defer in.Close()
		name = path
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSpec+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSpec {
		return nil, fmt.Errorf("%s: more than %s; this is no guest specification", name, quantity.Bytes(maxSpec))
	}
	spec, err := guestspec.Decode(data)
	if err != nil {
		return nil, failure.New(failure.General, "%s: %v", name, err).
			WithHint("The file holds a GuestSpec: gozen guest inspect NAME -o json | jq .spec")
	}
	return spec, nil
}

// apply puts the flags that were given into the specification, and the defaults
// of the CLI when there is no file.
func (f *createFlags) apply(cmd *cobra.Command, spec *gozenv1.GuestSpec) error {
	given := func(name string) bool { return f.file == "" || cmd.Flags().Changed(name) }
	var err error
	if given("vcpus") {
		if f.vcpus == 0 {
			return fmt.Errorf("--vcpus 0: a guest needs at least one processor")
		}
		spec.Vcpus = f.vcpus
	}
	if given("memory") {
		if spec.MemoryBytes, err = quantity.ParseBytes(f.memory); err != nil {
			return fmt.Errorf("--memory: %w", err)
		}
		if spec.MemoryBytes < quantity.MiB {
			return fmt.Errorf("--memory %s is %d bytes; did you mean %sMiB?", f.memory, spec.MemoryBytes, f.memory)
		}
	}
	for name, to := range map[string]*string{"kernel": &spec.Kernel, "initrd": &spec.Initrd, "cmdline": &spec.Cmdline} {
		if given(name) {
			*to = cmd.Flag(name).Value.String()
		}
	}
	if given("disk") {
		spec.Disks = nil
		for _, text := range f.disks {
			disk, err := guestspec.ParseDisk(text)
			if err != nil {
				return err
			}
			spec.Disks = append(spec.Disks, disk)
		}
	}
	if given("nic") {
		if err := f.applyNics(spec); err != nil {
			return err
		}
	}
	if given("restart") {
		if spec.Restart, err = guestspec.ParseRestart(f.restart); err != nil {
			return fmt.Errorf("--restart: %w", err)
		}
	}
	if f.cpuLimit != "" {
		if spec.CpuLimitMillis, err = quantity.ParseCPUs(f.cpuLimit); err != nil {
			return err
		}
		if vcpus := max(1, spec.Vcpus); uint64(spec.CpuLimitMillis) > 1000*uint64(vcpus) {
			return fmt.Errorf("--cpu-limit %s: more than the guest's %s can use; give it more with --vcpus",
				f.cpuLimit, plural(int(vcpus), "processor"))
		}
	}
	if cmd.Flags().Changed("entropy-rate") {
		rate, err := quantity.ParseRate(f.entropyRate)
		switch {
		case err != nil:
			return fmt.Errorf("--entropy-rate: %w", err)
		case rate == 0:
			return fmt.Errorf("--entropy-rate 0: a guest needs entropy; leave it out for the default")
		}
		spec.Entropy = &gozenv1.Entropy{BytesPerSecond: rate}
	}
	if cmd.Flags().Changed("stop-timeout") {
		if f.stopTimeout <= 0 {
			return fmt.Errorf("--stop-timeout %s: must be above 0", f.stopTimeout)
		}
		spec.StopTimeout = durationpb.New(f.stopTimeout)
	}
	for name, to := range map[string]*bool{"autostart": &spec.Autostart, "vsock": &spec.Vsock, "early-serial": &spec.EarlySerial} {
		if given(name) {
			*to = cmd.Flag(name).Value.String() == "true"
		}
	}
	for _, text := range f.labels {
		k, v, err := guestspec.ParseLabel(text)
		if err != nil {
			return err
		}
		if spec.Labels == nil {
			spec.Labels = make(map[string]string)
		}
		spec.Labels[k] = v
	}
	return nil
}

func (f *createFlags) applyNics(spec *gozenv1.GuestSpec) error {
	nics := f.nics
	switch {
	case len(nics) == 0:
		nics = []string{"default"}
	case len(nics) == 1 && nics[0] == guestspec.NoNic:
		nics = nil
	}
	spec.Nics = nil
	for _, text := range nics {
		if text == guestspec.NoNic {
			return fmt.Errorf("--nic none does not go with other --nic flags")
		}
		nic, err := guestspec.ParseNic(text)
		if err != nil {
			return err
		}
		spec.Nics = append(spec.Nics, nic)
	}
	return nil
}
