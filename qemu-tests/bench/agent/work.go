package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

const (
	workMemory = 768 // MiB: fio and its libraries are in memory
	guestOne   = "10.88.0.2"
	guestTwo   = "10.88.0.3"
)

// worker is the guest that does tasks, with everything they may want.
func (h *host) worker(s protocol.Step, tap, address string, tasks []string) machine {
	m := machine{
		kernel: protocol.Kernel, elf: protocol.KernelELF, initrd: protocol.WorkInitrd, vcpus: 1, memoryMiB: workMemory, tap: tap,
		mac:   "52:54:00:88:00:0" + address[strings.LastIndexByte(address, '.')+1:],
		words: []string{"quiet", "bench.subject=" + string(s.Subject), "bench.tasks=" + strings.Join(tasks, ";")},
	}
	if s.Subject == protocol.GoKVM {
		// Its command line makes a path of the tap's name, which no tap can have.
		m.tap = ""
	} else {
		m.words = append(m.words, "bench.addr="+address+"/24")
	}
	// gokvm has one disk: it gets the file.
	for _, d := range []string{h.fileDisk, h.rawDevice} {
		if d != "" && (s.Subject != protocol.GoKVM || len(m.disks) == 0) {
			m.disks = append(m.disks, d)
		}
	}
	return m
}

// expand puts into tasks what only the agent knows, and leaves out what the VMM
// cannot have.
func (h *host) expand(s protocol.Step, tasks []string) (out []string) {
	full := s.Subject != protocol.GoKVM
	for _, t := range tasks {
		if !full && (strings.Contains(t, "/dev/vdb") || strings.HasPrefix(t, "net")) {
			continue
		}
		out = append(out, strings.ReplaceAll(t, "HOST", hostAddress))
	}
	return out
}

// work starts a guest that does the step's tasks.
func (h *host) work(ctx context.Context, s protocol.Step, a *answer) error {
	remove, err := makeTap("bench-a")
	if err != nil {
		return err
	}
	defer remove()
	g, err := startGuest(ctx, s, h.worker(s, "bench-a", guestOne, h.expand(s, s.Tasks)))
	if err != nil {
		return err
	}
	defer g.stop()
	if err := h.follow(ctx, g, s, a); err != nil {
		return err
	}
	if s.Quick {
		return nil
	}
	m, err := memoryOf(g.pid, workMemory<<20)
	if err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "memory.io", Subject: string(s.Subject), Value: float64(m.Private)})
	return nil
}

// follow passes on what the guest measures and reads the counters around those
// tasks whose operations are counted.
func (h *host) follow(ctx context.Context, g *guest, s protocol.Step, a *answer) error {
	if err := g.until(ctx, "userspace", isUp, nil); err != nil {
		return err
	}
	var mark marks
	var errs error
	var said []string // by the task under way
	var clock guestClock
	err := g.until(ctx, "the end of its tasks", func(line string) bool { return line == "@done" }, func(line string) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "@sample "), strings.HasPrefix(line, "@failure "):
			said = append(said, line)
		case len(words) == 2 && words[0] == "@begin":
			said, clock = nil, guestClock{}
			errs = errors.Join(errs, mark.begin(g))
		case len(words) == 2 && words[0] == "@clock":
			clock.tick(words[1], time.Now())
		case len(words) == 3 && words[0] == "@end":
			if wrong := clock.wrong(); wrong != "" {
				said = []string{measure.Failure{Subject: string(s.Subject), Part: words[1], Why: wrong}.Line()}
			}
			for _, line := range said {
				a.line(line)
			}
			errs = errors.Join(errs, mark.end(g, words[1], words[2], string(s.Subject), a))
		}
	})
	return errors.Join(err, errs, systemCalls.remove())
}

// guestClock compares the guest's clock, by which it measures, with the host's.
type guestClock struct {
	host        []time.Time
	nanoseconds []int64
}

func (c *guestClock) tick(ns string, host time.Time) {
	if n, err := strconv.ParseInt(ns, 10, 64); err == nil {
		c.host, c.nanoseconds = append(c.host, host), append(c.nanoseconds, n)
	}
}

const (
	// A line takes its time from the guest to here, so short tasks say nothing.
	clockLeast = time.Second
	clockError = 0.1
)

// wrong says what is wrong with the clock, "" if nothing is.
func (c *guestClock) wrong() string {
	if len(c.host) != 2 {
		return ""
	}
	real, guest := c.host[1].Sub(c.host[0]), time.Duration(c.nanoseconds[1]-c.nanoseconds[0])
	if real < clockLeast || math.Abs(guest.Seconds()/real.Seconds()-1) <= clockError {
		return ""
	}
	return fmt.Sprintf("the guest's clock is wrong: it saw %v go by in %v, so nothing that it times counts",
		guest.Round(time.Millisecond), real.Round(time.Millisecond))
}

// marks are the counters at the begin of a task.
type marks struct{ exits uint64 }

func (m *marks) begin(g *guest) error {
	var err error
	if m.exits, err = exits(g.pid); err != nil {
		return err
	}
	return systemCalls.begin()
}

// counted names the measures of the tasks whose operations are counted.
var counted = map[string]struct{ exits, calls string }{
	"diskcount": {"disk.exits", "disk.syscalls"},
	"netcount":  {"net.host.exits", ""},
}

func (m *marks) end(g *guest, task, count, subject string, a *answer) error {
	name, _, _ := strings.Cut(task, ":")
	names, ok := counted[name]
	if !ok {
		return systemCalls.remove()
	}
	now, err := exits(g.pid)
	if err != nil {
		return err
	}
	calls, err := callsOf(g.pid)
	if err != nil {
		return err
	}
	n, err := strconv.ParseFloat(count, 64)
	if err != nil || n <= 0 {
		return nil // the guest said why
	}
	a.sample(measure.Sample{Measure: names.exits, Subject: subject, Value: float64(now-m.exits) / n})
	if names.calls != "" {
		a.sample(measure.Sample{Measure: names.calls, Subject: subject, Value: float64(calls) / n})
	}
	return systemCalls.remove()
}

// pair starts a guest that serves and one that does the tasks against it.
func (h *host) pair(ctx context.Context, s protocol.Step, a *answer) error {
	if s.Subject == protocol.GoKVM {
		return errors.New("gokvm cannot be given a tap: its command line makes a path of the name")
	}
	for _, name := range []string{"bench-a", "bench-b"} {
		remove, err := makeTap(name)
		if err != nil {
			return err
		}
		defer remove()
	}
	without := *h
	without.fileDisk, without.rawDevice = "", "" // two guests cannot share them
	server, err := startGuest(ctx, s, without.worker(s, "bench-b", guestTwo, []string{"serve"}))
	if err != nil {
		return err
	}
	defer server.stop()
	if err := server.until(ctx, "its servers", func(line string) bool { return line == "@done" }, nil); err != nil {
		return err
	}
	go func() {
		for range server.lines {
		}
	}()
	tasks := slices.Clone(s.Tasks)
	for i, t := range tasks {
		tasks[i] = strings.ReplaceAll(t, "GUEST", guestTwo)
	}
	g, err := startGuest(ctx, s, without.worker(s, "bench-a", guestOne, tasks))
	if err != nil {
		return err
	}
	defer g.stop()
	return h.follow(ctx, g, s, a)
}

// workOnHost runs the tasks that guests are compared with, by the same program as
// in guests: a fork, for one, costs more in a larger process.
func workOnHost(ctx context.Context, s protocol.Step, a *answer) error {
	if len(s.Tasks) == 0 {
		return nil
	}
	out, err := exec.CommandContext(ctx, protocol.GuestProgram, append([]string{string(s.Subject)}, s.Tasks...)...).Output()
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "@sample ") || strings.HasPrefix(line, "@failure ") {
			a.line(strings.TrimSpace(line))
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", protocol.GuestProgram, err)
	}
	return nil
}
