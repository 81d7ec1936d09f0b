// Command gozen-run is `make run`: it boots Gozen nested in QEMU, makes this
// machine its admin, starts a demo guest on it through the management API, and
// shows the guest's console until the guest is up.
//
// It then keeps the host running until Ctrl-C, which stops guest and host in
// order; a second Ctrl-C pulls the plug. With -once it stops both in order by
// itself and exits 0, or fails with the reason if any step failed; the machine is
// then cut off from the network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var o options
	flag.StringVar(&o.build, "build", "build", "`directory` with what make run built")
	flag.StringVar(&o.cli, "cli", "bin/gozen", "the gozen `program`")
	flag.BoolVar(&o.once, "once", false, "stop guest and host in order when the guest is up; no network")
	flag.BoolVar(&o.debug, "debug", false, "boot the debug image and join its console to this terminal")
	flag.IntVar(&o.memory, "memory", 2048, "memory of the host, in `MiB`")
	flag.IntVar(&o.cpus, "cpus", 2, "processors of the host")
	flag.Parse()
	if flag.NArg() > 0 || o.once && o.debug {
		fmt.Fprintln(os.Stderr, "gozen-run: takes no arguments; -once and -debug exclude each other")
		os.Exit(2)
	}
	if err := supervise(o); err != nil {
		fmt.Fprintf(os.Stderr, "\ngozen-run: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	build, cli   string
	once, debug  bool
	memory, cpus int
}

// errInterrupted is the cause of a context that Ctrl-C ended.
var errInterrupted = errors.New("interrupted")

// supervise runs the session and turns signals into its end: the first asks for
// an orderly one, the second pulls the plug.
func supervise(o options) error {
	s, err := newSession(o)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		stop(errInterrupted)
		<-signals
		s.pullPlug()
	}()
	return s.run(ctx)
}
