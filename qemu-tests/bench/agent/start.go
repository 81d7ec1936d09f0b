package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

const (
	// smallMemory is the RAM of a guest with the small kernel.
	smallMemory = 256
	// settle is how long a guest is left alone before what it has is read.
	settle = 3 * time.Second
	// idleTime is how long an idle guest's exits are counted.
	idleTime = 10 * time.Second
)

// small is the guest of the start measures: small kernel, small initrd, the devices
// that every guest has.
func small(s protocol.Step, words ...string) machine {
	return machine{
		kernel: protocol.Kernel, elf: protocol.KernelELF, initrd: protocol.Initrd, vcpus: 1, memoryMiB: smallMemory,
		words: append([]string{"quiet", "bench.subject=" + string(s.Subject)}, words...),
	}
}

func isUp(line string) bool { return line == "@up" }

// start measures time and CPU time from the request to the guest's userspace.
func (h *host) start(ctx context.Context, s protocol.Step, a *answer) error {
	g, err := startGuest(ctx, s, small(s))
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.until(ctx, "userspace", isUp, nil); err != nil {
		return err
	}
	wall := time.Since(g.started)
	cpu := cpuTime(g.pid)
	a.sample(measure.Sample{Measure: "start.wall", Subject: string(s.Subject), Value: milliseconds(wall)})
	a.sample(measure.Sample{Measure: "start.cpu", Subject: string(s.Subject), Value: milliseconds(cpu)})
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// count counts what does not depend on speed. It is apart from start because the
// counting costs time.
func (h *host) count(ctx context.Context, s protocol.Step, a *answer) error {
	name := string(s.Subject)
	counting := []histogram{exitReasons, userExits, systemCalls}
	for _, t := range counting {
		if err := t.begin(); err != nil {
			return err
		}
		defer t.remove()
	}
	g, err := startGuest(ctx, s, small(s))
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.until(ctx, "userspace", isUp, nil); err != nil {
		return err
	}
	total, err := exits(g.pid)
	if err != nil {
		return err
	}
	for _, t := range counting {
		if err := t.pause(); err != nil {
			return err
		}
	}
	a.sample(measure.Sample{Measure: "start.exits", Subject: name, Value: float64(total)})
	if err := reportReasons("start.exits", name, 1, a); err != nil {
		return err
	}
	if err := reportUserExits(name, a); err != nil {
		return err
	}
	calls, err := callsOf(g.pid)
	if err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "start.syscalls", Subject: name, Value: float64(calls)})
	for _, t := range counting {
		_ = t.remove()
	}
	return idle(ctx, g, name, a)
}

// idle reads what the guest costs while nothing happens.
func idle(ctx context.Context, g *guest, name string, a *answer) error {
	pause(ctx, settle)
	before, err := exits(g.pid)
	if err != nil {
		return err
	}
	if err := exitReasons.begin(); err != nil {
		return err
	}
	defer exitReasons.remove()
	began := time.Now()
	pause(ctx, idleTime)
	after, err := exits(g.pid)
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if err := exitReasons.pause(); err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "exit.idle", Subject: name, Value: float64(after-before) / seconds})
	if err := reportReasons("exit.idle", name, seconds, a); err != nil {
		return err
	}
	m, err := memoryOf(g.pid, smallMemory<<20)
	if err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "memory.idle", Subject: name, Value: float64(m.Private)})
	a.sample(measure.Sample{Measure: "memory.shared", Subject: name, Value: float64(m.Text)})
	a.sample(measure.Sample{Measure: "density.fit", Subject: name, Value: float64((1 << 20) / max(m.Private, 1))})
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// reportReasons says how the exits that were counted divide into reasons.
func reportReasons(name, subject string, per float64, a *answer) error {
	reasons, err := exitReasons.read()
	if err != nil {
		return err
	}
	amd := isAMD()
	words := make(map[string]uint64)
	for reason, n := range reasons {
		words[reasonName(amd, reason)] += n
	}
	for _, w := range slices.Sorted(maps.Keys(words)) {
		a.sample(measure.Sample{Measure: name, Subject: subject, Detail: w, Value: float64(words[w]) / per})
	}
	return nil
}

func reportUserExits(subject string, a *answer) error {
	users, err := userExits.read()
	if err != nil {
		return err
	}
	var sum uint64
	for reason, n := range users {
		sum += n
		a.sample(measure.Sample{Measure: "start.user_exits", Subject: subject, Detail: userReason(reason), Value: float64(n)})
	}
	a.sample(measure.Sample{Measure: "start.user_exits", Subject: subject, Value: float64(sum)})
	return nil
}

// userReason is a word for KVM_EXIT_* (linux/kvm.h).
func userReason(reason uint64) string {
	names := map[uint64]string{
		2: "port", 5: "HLT", 6: "MMIO", 7: "interrupt window", 8: "shutdown", 10: "interrupted", 24: "system event", 26: "I/O APIC EOI", 29: "MSR read", 30: "MSR write",
	}
	if n, ok := names[reason]; ok {
		return n
	}
	return fmt.Sprintf("other (%d)", reason)
}
