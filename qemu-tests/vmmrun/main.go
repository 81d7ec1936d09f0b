// Command vmmrun runs a guest in a vmm without dom0, for development: it opens
// what dom0 would open, starts vmm, shows the guest's console on standard output
// and prints how the guest ended.
//
//	vmmrun -vmm ./vmm -kernel bzImage -initrd initrd.cpio -append "console=hvc0"
//
// It needs root, or rights to /dev/kvm and the devices named. The exit status is
// 0 when the guest ended with the outcome that -expect names.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gozen/hypervisor/platform"
	"gozen/hypervisor/vmmapi"
	"gozen/qemu-tests/vmmhost"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// defaultCmdline is what dom0 gives a guest that asks for nothing.
var defaultCmdline = platform.CommandLine("console=hvc0")

type options struct {
	vmm, kernel, initrd string
	cmdline             list
	vcpus               int
	memoryMiB           uint64
	disks, taps         list
	vhost               bool
	cid                 uint
	earlySerial         bool
	entropyRate         uint64
	expect              string
	timeout             time.Duration
	button              time.Duration
	input               string
	histogram           bool
}

func main() {
	var o options
	flag.StringVar(&o.vmm, "vmm", "vmm", "`path` of the vmm")
	flag.StringVar(&o.kernel, "kernel", "", "bzImage or vmlinux `file`")
	flag.StringVar(&o.initrd, "initrd", "", "initrd `file`")
	flag.Var(&o.cmdline, "append", "`words` of the kernel command line (repeatable; default "+defaultCmdline+")")
	flag.IntVar(&o.vcpus, "vcpus", 1, "number of vCPUs")
	flag.Uint64Var(&o.memoryMiB, "memory", 256, "guest memory in `MiB`")
	flag.Var(&o.disks, "disk", "disk `file`, read-only with :ro behind it (repeatable)")
	flag.Var(&o.taps, "tap", "`name` of a tap, made if absent (repeatable)")
	flag.BoolVar(&o.vhost, "vhost", true, "network by vhost-net")
	flag.UintVar(&o.cid, "cid", 0, "vsock context `id`; 0 for no vsock")
	flag.BoolVar(&o.earlySerial, "early-serial", false, "transmit-only serial port")
	flag.Uint64Var(&o.entropyRate, "entropy", 1<<20, "`bytes` per second of entropy")
	flag.StringVar(&o.expect, "expect", vmmapi.CodePowerOff, "`code` of the outcome for exit status 0")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "stop the guest after this `time`")
	flag.DurationVar(&o.button, "button", 0, "press the power button after this `time`")
	flag.StringVar(&o.input, "input", "", "`line` to type into the console once the guest has opened it")
	flag.BoolVar(&o.histogram, "histogram", false, "print what KVM's tracepoints counted until the guest opened its console")
	flag.Parse()
	if o.cmdline == nil {
		o.cmdline = list{defaultCmdline}
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "vmmrun:", err)
		os.Exit(1)
	}
}

func (o options) guest() vmmhost.Options {
	out := vmmhost.Options{
		VMM: o.vmm, Kernel: o.kernel, Initrd: o.initrd, Cmdline: o.cmdline.String(), VCPUs: o.vcpus, MemoryBytes: o.memoryMiB << 20,
		Vhost: o.vhost, CID: uint32(o.cid), EarlySerial: o.earlySerial, EntropyRate: o.entropyRate, Errors: os.Stderr,
	}
	for _, disk := range o.disks {
		path, readOnly := strings.CutSuffix(disk, ":ro")
		out.Disks = append(out.Disks, vmmhost.Disk{Path: path, ReadOnly: readOnly})
	}
	for _, tap := range o.taps {
		out.Nics = append(out.Nics, vmmhost.Nic{Tap: tap})
	}
	return out
}

func run(o options) error {
	if o.histogram {
		if err := startHistograms(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	g, err := vmmhost.Start(ctx, o.guest())
	if err != nil {
		return err
	}
	defer g.Close()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(ctx, g, o)
	}()
	select {
	case <-g.Exited():
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "vmmrun: time is up: stopping the guest")
		g.Stop()
	}
	outcome, err := g.Outcome()
	<-watched
	fmt.Printf("\nvmmrun: %v after %v, %s\n", g.State(), time.Since(g.Started).Round(time.Millisecond), resources(g.State()))
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(outcome, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("\nvmmrun: %s\n", b)
	if outcome.Code != o.expect {
		return fmt.Errorf("the guest ended with %q, not %q", outcome.Code, o.expect)
	}
	return nil
}

func resources(s *os.ProcessState) string {
	return fmt.Sprintf("user %v, system %v", s.UserTime().Round(time.Millisecond), s.SystemTime().Round(time.Millisecond))
}

// watch prints events and the console, and does what the flags ask for, until
// the vmm is gone.
func watch(ctx context.Context, g *vmmhost.Guest, o options) {
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(os.Stdout, g.Console)
	}()
	if o.button > 0 {
		time.AfterFunc(o.button, func() {
			if _, err := g.Control.Do(ctx, vmmapi.Request{Op: vmmapi.OpPowerButton}); err != nil {
				fmt.Fprintln(os.Stderr, "vmmrun:", err)
			}
		})
	}
	for {
		e, err := g.Events.Next()
		if err != nil {
			break
		}
		fmt.Fprintf(os.Stderr, "vmmrun: +%v %s %s %s\n", time.Since(g.Started).Round(time.Millisecond), e.Kind, e.Device, e.Message)
		if e.Kind == vmmapi.EventConsole && o.histogram {
			if err := printHistograms(); err != nil {
				fmt.Fprintln(os.Stderr, "vmmrun:", err)
			}
		}
		if e.Kind == vmmapi.EventConsole && o.input != "" {
			_, _ = io.WriteString(g.Console, strings.TrimSuffix(o.input, "\n")+"\n")
		}
	}
	<-shown
}
