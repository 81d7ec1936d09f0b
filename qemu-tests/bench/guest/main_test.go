package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/work"
)

// output runs f with a session whose console is a file, and returns its lines.
func output(t *testing.T, f func(session)) []string {
	t.Helper()
	console, err := os.CreateTemp(t.TempDir(), "console")
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	f(session{subject: "host", out: int(console.Fd())})
	text, err := os.ReadFile(console.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// A task that fails does not keep the next from running, and all is said in lines
// that the launcher reads.
func TestRun(t *testing.T) {
	var ok bool
	lines := output(t, func(s session) { ok = s.run([]string{"nosuch:1", "touch:1"}) })
	if ok {
		t.Error("all is well with a task that does not exist")
	}
	clocks := len(lines)
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "@clock ") })
	if clocks -= len(lines); clocks != 4 {
		t.Errorf("%d lines with a clock, want two a task", clocks)
	}
	if len(lines) != 5 {
		t.Fatalf("lines %q", lines)
	}
	var r measure.Run
	if known, err := r.ParseLine(lines[1]); !known || err != nil || r.Failures[0].Subject != "host" {
		t.Errorf("%q: %v, %+v", lines[1], err, r)
	}
	lines[1] = ""
	want := []string{"@begin nosuch:1", "", "@end nosuch:1 0", "@begin touch:1", "@end touch:1 256"}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", lines, want)
	}
}

func TestFailureIsOneLine(t *testing.T) {
	lines := output(t, func(s session) {
		s.fail(measure.GroupDisk, errors.Join(errors.New("one\ntwo"), errors.New("three")))
	})
	var r measure.Run
	if _, err := r.ParseLine(lines[0]); len(lines) != 1 || err != nil {
		t.Fatalf("lines %q: %v", lines, err)
	}
	if want := (measure.Failure{Subject: "host", Part: measure.GroupDisk, Why: "one; two; three"}); r.Failures[0] != want {
		t.Errorf("%+v, want %+v", r.Failures[0], want)
	}
}

func TestLimited(t *testing.T) {
	run := func(limit time.Duration, f func() ([]work.Value, int, error)) (int, error) {
		_, n, err := limited(task{text: "x", limit: limit, run: f})
		return n, err
	}
	if n, err := run(time.Minute, func() ([]work.Value, int, error) { return nil, 5, nil }); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := run(time.Minute, func() ([]work.Value, int, error) { panic("oops") }); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("panic: %v", err)
	}
	release := make(chan struct{})
	defer close(release)
	if _, err := run(time.Nanosecond, func() ([]work.Value, int, error) { <-release; return nil, 0, nil }); err == nil || !strings.Contains(err.Error(), "not done") {
		t.Errorf("hung: %v", err)
	}
	// Registers that are not there fault, beyond what a nil check catches.
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	if _, err := run(time.Minute, func() ([]work.Value, int, error) { return nil, int(page[0]), nil }); err == nil {
		t.Error("read a page without permission")
	}
}
