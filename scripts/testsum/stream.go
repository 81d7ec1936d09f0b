package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is a line of go test -json; see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// reader turns a stream of events into counts and a report.
type reader struct {
	out     io.Writer
	counts  Counts
	outputs map[string][]string // what a test or package said so far
	built   map[string][]string // what the compiler said, by package
}

func read(in io.Reader, out io.Writer, dir, stage string) error {
	// A count of an earlier run must not stand in for one that is cut.
	if err := os.Remove(countsFile(dir, stage)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r := &reader{out: out, outputs: make(map[string][]string), built: make(map[string][]string)}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(out, lines.Text())
			continue
		}
		r.take(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s tests: read the results: %w", stage, err)
	}
	if err := save(dir, stage, r.counts); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s tests: %s\n", stage, r.counts)
	switch {
	case r.counts.Failed > 0:
		return fmt.Errorf("%s tests: %d failed", stage, r.counts.Failed)
	case r.counts.Passed == 0:
		return fmt.Errorf("%s tests: none ran", stage)
	}
	return nil
}

func (r *reader) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.outputs[key] = append(r.outputs[key], e.Output)
	case "build-output":
		r.built[e.ImportPath] = append(r.built[e.ImportPath], e.Output)
	case "pass":
		if e.Test != "" {
			r.counts.Passed++
		} else {
			fmt.Fprintf(r.out, "ok    %-50s %6.1f s\n", e.Package, e.Elapsed)
		}
		delete(r.outputs, key)
	case "skip":
		if e.Test != "" {
			r.counts.Skipped = append(r.counts.Skipped, key)
			r.print(key)
		}
		delete(r.outputs, key)
	case "fail":
		// A package fails with its tests; by itself it counts when it did not
		// build, or ended in the middle.
		if e.Test != "" || e.FailedBuild != "" || !r.failedIn(e.Package) {
			r.counts.Failed++
		}
		fmt.Fprintf(r.out, "FAIL  %-50s %6.1f s\n", strings.TrimSpace(key), e.Elapsed)
		for _, line := range r.built[e.FailedBuild] {
			fmt.Fprint(r.out, "      ", line)
		}
		r.print(key)
		if e.Test != "" {
			r.outputs["failed in "+e.Package] = []string{e.Test}
		}
	}
}

func (r *reader) failedIn(pkg string) bool { return r.outputs["failed in "+pkg] != nil }

func (r *reader) print(key string) {
	for _, text := range r.outputs[key] {
		for _, line := range strings.SplitAfter(text, "\n") {
			if line != "" && !strings.HasPrefix(line, "=== ") {
				fmt.Fprint(r.out, "      ", line)
			}
		}
	}
	delete(r.outputs, key)
}

// String is "12 passed, 0 failed", with what was skipped.
func (c Counts) String() string {
	s := fmt.Sprintf("%d passed, %d failed", c.Passed, c.Failed)
	if len(c.Skipped) > 0 {
		s += fmt.Sprintf(", %d skipped (%s)", len(c.Skipped), strings.Join(c.Skipped, ", "))
	}
	return s
}

// sum adds up stages and prints the closing line.
func sum(out io.Writer, dir string, stages []string) error {
	var all Counts
	var where []string
	for _, stage := range stages {
		text, err := os.ReadFile(countsFile(dir, stage))
		if err != nil {
			return fmt.Errorf("the %s tests did not run to their end: %w", stage, err)
		}
		var c Counts
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("%s: %w", countsFile(dir, stage), err)
		}
		all.Passed += c.Passed
		all.Failed += c.Failed
		all.Skipped = append(all.Skipped, c.Skipped...)
		where = append(where, fmt.Sprintf("%s %d", stage, c.Passed+c.Failed))
	}
	fmt.Fprintf(out, "tests ran: %s\n%s\n", strings.Join(where, ", "), all)
	if all.Failed > 0 {
		return errors.New("there were failures")
	}
	return nil
}
