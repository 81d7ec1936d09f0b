package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/report"
)

type options struct {
	build, out, version string
	page                string
	quick               bool
	repeat              int
	only                []string
	subjects            []string
	limit               time.Duration
	memoryMiB           int
}

func main() {
	var o options
	var only, subjects string
	flag.StringVar(&o.build, "build", "build", "`directory` of what make builds")
	flag.StringVar(&o.out, "out", "build/bench", "`directory` to write the reports to")
	flag.StringVar(&o.version, "version", "", "`version` of Gozen, for the report")
	flag.StringVar(&o.page, "page", "", "`file` whose part between the report's markers is replaced by the results")
	flag.BoolVar(&o.quick, "quick", false, "only what does not depend on speed: exits, system calls, memory")
	flag.IntVar(&o.repeat, "repeat", 3, "repetitions of what is timed; Debian and the density are run once")
	flag.StringVar(&only, "only", "", "`parts` to run: start,count,api,cpu,exits,disk,net,entropy,density,debian (default all)")
	flag.StringVar(&subjects, "subjects", "", "`VMMs` to run (default all that there are)")
	flag.DurationVar(&o.limit, "limit", time.Hour, "`time` after which the run is given up")
	flag.IntVar(&o.memoryMiB, "memory", 6144, "memory of the host in `MiB`")
	flag.Parse()
	o.only = words(only)
	o.subjects = words(subjects)
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// wants says whether a part is to be run.
func (o *options) wants(part string) bool { return len(o.only) == 0 || slices.Contains(o.only, part) }

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	s := &session{options: o, progress: progress{start: time.Now()}, result: &measure.Run{Date: time.Now().UTC()}}
	defer s.close()
	for _, step := range []func(context.Context) error{s.prepare, s.boot, s.measure} {
		if err := step(ctx); err != nil {
			if len(s.result.Samples) > 0 {
				// What was found before is worth keeping.
				err = errors.Join(err, report.Write(o.out, s.result))
			}
			return err
		}
	}
	if err := report.Write(o.out, s.result); err != nil {
		return err
	}
	if o.page != "" {
		if err := report.Update(o.page, s.result); err != nil {
			return err
		}
	}
	if err := report.Text(os.Stdout, s.result); err != nil {
		return err
	}
	s.say("the report is in %s and %s", filepath.Join(o.out, "report.txt"), filepath.Join(o.out, "report.html"))
	return nil
}

// progress says what happens, with the seconds since the start.
type progress struct{ start time.Time }

func (p progress) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%6.1f s] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
