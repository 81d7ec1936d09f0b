package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/work"
)

// quiet is the length of a pause in which nothing happens.
const quiet = 300 * time.Millisecond

func main() {
	if os.Getpid() == 1 {
		boot()
		return
	}
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: guest SUBJECT TASK…\nThe tasks are in the documentation of the command.")
		os.Exit(2)
	}
	collectRarely()
	if !(session{subject: os.Args[1], out: 1}).run(os.Args[2:]) {
		os.Exit(1)
	}
}

// collectRarely leaves garbage until a task has ended: a collection would be noise
// in what is measured. The limit is for what nobody thought of: the workloads
// allocate next to nothing.
func collectRarely() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(64 << 20)
}

// boot is the life of an init. It never returns.
func boot() {
	s := session{out: 1} // the kernel opened the console, if it found one
	s.say("@up")
	collectRarely()
	mountErr := mountAll()
	quieten()
	if err := s.findConsole(); err != nil {
		mountErr = errors.Join(mountErr, err)
	}
	line, err := os.ReadFile("/proc/cmdline")
	o, parseErr := parseCommandLine(string(line))
	s.subject = o.subject
	if err := errors.Join(mountErr, err, parseErr); err != nil {
		s.fail("", err)
	}
	if o.address.IsValid() {
		if err := configureNetwork(o.address); err != nil {
			s.fail(measure.GroupNetwork, err)
		}
	}
	s.run(o.tasks)
	s.say("@done")
	if o.powerOff {
		s.drain()
		unix.Sync()
		if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
			s.fail("", fmt.Errorf("power off: %w", err))
		}
	}
	for {
		_ = unix.Pause() // it only returns from signals
	}
}

// quieten stops work that the kernel does by the clock in an idle guest, looking
// whether memory is fragmented and adding up statistics: it would be counted as the
// VMM's. A kernel that has none of it says so, and is quiet.
func quieten() {
	_ = os.WriteFile("/proc/sys/vm/compaction_proactiveness", []byte("0"), 0)
	_ = os.WriteFile("/proc/sys/vm/stat_interval", []byte("600"), 0)
}

// session runs tasks and says what they find.
type session struct {
	subject string
	out     int // descriptor of the console
}

// run runs tasks one after another and says whether all did what they should.
func (s session) run(tasks []string) bool {
	ok := true
	for _, text := range tasks {
		ok = s.one(text) && ok
	}
	return ok
}

// one runs a task between its marks.
func (s session) one(text string) (ok bool) {
	runtime.GC()
	s.pause()
	s.say("@begin " + text)
	s.pause()
	s.say(clock())
	t, err := parseTask(text)
	var values []work.Value
	var count int
	if err == nil {
		values, count, err = limited(t)
	}
	for _, v := range values {
		s.say(v.Sample(s.subject).Line())
	}
	if err != nil {
		s.fail(t.group, err)
	}
	s.say(clock())
	s.say("@end " + text + " " + strconv.Itoa(count))
	s.pause()
	return err == nil
}

// clock is the line by which the host sees whether the guest's clock is right.
func clock() string {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it cannot fail
	return "@clock " + strconv.FormatInt(ts.Nano(), 10)
}

// limited runs a task for no longer than its limit. One that hangs is left behind.
func limited(t task) ([]work.Value, int, error) {
	type result struct {
		values []work.Value
		count  int
		err    error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("task %q: panic: %v", t.text, p)
				if at, ok := p.(interface{ Addr() uintptr }); ok {
					r.err = fmt.Errorf("%w at %#x", r.err, at.Addr())
				}
			}
			done <- r
		}()
		// Where a device's registers are not what they seem to be, reading them faults.
		debug.SetPanicOnFault(true)
		r.values, r.count, r.err = t.run()
	}()
	select {
	case r := <-done:
		return r.values, r.count, r.err
	case <-time.After(t.limit):
		return nil, 0, fmt.Errorf("task %q: not done after %v", t.text, t.limit)
	}
}

// pause waits until the console has written all, and then some time quietly.
func (s session) pause() {
	s.drain()
	time.Sleep(quiet)
}

// drain waits until the console has written all.
func (s session) drain() {
	// An argument other than 0 only waits (tcdrain). What is no terminal has nothing
	// to wait for.
	_ = unix.IoctlSetInt(s.out, unix.TCSBRK, 1)
}

// fail says that a part could not be measured.
func (s session) fail(group string, err error) {
	// Joined errors are lines: the console's unit is one.
	why := strings.ReplaceAll(err.Error(), "\n", "; ")
	s.say(measure.Failure{Subject: s.subject, Part: group, Why: why}.Line())
}

// say writes a line by one system call, unless the console takes it in parts.
func (s session) say(line string) {
	for b := []byte(line + "\n"); len(b) > 0; {
		n, err := unix.Write(s.out, b)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return // there is nobody to tell
		}
		b = b[max(n, 0):]
	}
}
