// Command gozend is the daemon of a Gozen host: the management domain.
//
// On a host PID 1 starts it without arguments. On any other Linux machine it
// runs for development, without root:
//
//	gozend -root DIR -listen 127.0.0.1:0
//
// keeps everything below DIR and leaves the machine's network, disks and control
// groups alone. DIR/seed/seed.json says who may talk to it. Guests need root, and
// /dev/kvm.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"gozen/dom0/daemon"
	"gozen/dom0/initctl"
	"gozen/dom0/jail"
)

const (
	// gcPercent and memoryLimit keep the daemon small: it is idle most of the time,
	// and an upload's garbage is collected early.
	gcPercent   = 50
	memoryLimit = 48 << 20 // bytes; a soft limit of the Go runtime
)

func main() {
	jail.Main()
	var opt daemon.Options
	flag.StringVar(&opt.Root, "root", "", "put /run, /data and /seed below `DIR`, and leave the machine alone")
	flag.StringVar(&opt.Listen, "listen", ":8443", "serve the API at `ADDRESS`")
	flag.StringVar(&opt.VMM, "vmm", "/bin/vmm", "run guests with `PROGRAM`")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "gozend: unexpected argument %q; see -help\n", flag.Arg(0))
		os.Exit(2)
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	opt.Output = os.Stderr

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	orders := make(chan daemon.Order, 1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, initctl.SignalPowerOff, initctl.SignalReboot)
	go func() {
		for s := range signals {
			if s == initctl.SignalReboot {
				orders <- daemon.Reboot
			} else {
				orders <- daemon.PowerOff
			}
		}
	}()
	if err := daemon.Run(ctx, opt, orders); err != nil {
		fmt.Fprintln(os.Stderr, "gozend:", err)
		os.Exit(1)
	}
}
