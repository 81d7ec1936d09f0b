package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/work"
)

// Times of the workloads.
const (
	costWindow = 400 * time.Millisecond // of a measure of CPU or Exits
	rateWindow = 2 * time.Second        // of other measures
)

// fioProgram is where the initrd has fio.
const fioProgram = "/usr/bin/fio"

// task is what the command line asks for.
type task struct {
	text  string // as it was given
	group string // of measure's catalogue, for failures
	limit time.Duration
	// run returns what it found and how many operations it did. It may return values
	// and an error: of a part that failed.
	run func() ([]work.Value, int, error)
}

// kinds are the tasks by name, with the number of their arguments.
var kinds = map[string]struct {
	args  int
	group string
	parse func(t *task, args []string) error
}{
	"cpu":       {0, measure.GroupCPU, values(work.CPU, costWindow)},
	"exits":     {0, measure.GroupExits, values(work.Exits, costWindow)},
	"entropy":   {0, measure.GroupEntropy, values(work.Entropy, rateWindow)},
	"idle":      {1, measure.GroupExits, idle},
	"touch":     {1, measure.GroupMemory, touch},
	"disk":      {2, measure.GroupDisk, disk},
	"diskcount": {2, measure.GroupDisk, diskCount},
	"net":       {2, measure.GroupNetwork, network},
	"netcount":  {2, measure.GroupNetwork, netCount},
	"serve":     {0, measure.GroupNetwork, serve},
}

// parseTask reads a task. With an error the task has its text and, if its name is
// known, its group.
func parseTask(text string) (task, error) {
	t := task{text: text, limit: 3 * time.Minute}
	name, rest, hasArgs := strings.Cut(text, ":")
	kind, ok := kinds[name]
	if !ok {
		return t, fmt.Errorf("task %q: no task of that name", text)
	}
	t.group = kind.group
	var args []string
	if hasArgs {
		args = strings.Split(rest, ",")
	}
	if len(args) != kind.args {
		return t, fmt.Errorf("task %q: %d arguments, not %d", text, len(args), kind.args)
	}
	if err := kind.parse(&t, args); err != nil {
		return t, fmt.Errorf("task %q: %w", text, err)
	}
	return t, nil
}

// values makes a task of a workload that takes a time.
func values(run func(time.Duration) ([]work.Value, error), window time.Duration) func(*task, []string) error {
	return func(t *task, _ []string) error {
		t.run = func() ([]work.Value, int, error) {
			v, err := run(window)
			return v, 0, err
		}
		return nil
	}
}

func idle(t *task, args []string) error {
	n, err := count(args[0], 0, 3600)
	if err != nil {
		return err
	}
	length := time.Duration(n) * time.Second
	t.limit += length
	t.run = func() ([]work.Value, int, error) {
		if length > 0 {
			time.Sleep(length)
		}
		return nil, 0, nil
	}
	return nil
}

func touch(t *task, args []string) error {
	mib, err := count(args[0], 1, 1<<20)
	if err != nil {
		return err
	}
	t.run = func() ([]work.Value, int, error) { return nil, mib << 8, work.Touch(mib) }
	return nil
}

func disk(t *task, args []string) error {
	prefix, device := args[0], args[1]
	if prefix != "file" && prefix != "raw" {
		return fmt.Errorf("%q is not file or raw", prefix)
	}
	if err := checkDevice(device); err != nil {
		return err
	}
	t.limit = 5 * time.Minute // nine jobs, and fio is slow to start under emulation
	t.run = func() ([]work.Value, int, error) {
		v, err := work.Fio{Path: fioProgram, Runtime: rateWindow}.Disk(prefix, device)
		return v, 0, err
	}
	return nil
}

func diskCount(t *task, args []string) error {
	device := args[0]
	n, err := count(args[1], 1, 1<<30)
	if err := errors.Join(err, checkDevice(device)); err != nil {
		return err
	}
	t.run = func() ([]work.Value, int, error) {
		done, err := work.Fio{Path: fioProgram}.Count(device, n)
		return nil, done, err
	}
	return nil
}

func network(t *task, args []string) error {
	prefix := args[0]
	if prefix != "host" && prefix != "guest" {
		return fmt.Errorf("%q is not host or guest", prefix)
	}
	server, err := netip.ParseAddr(args[1])
	if err != nil {
		return err
	}
	t.run = func() ([]work.Value, int, error) {
		v, err := work.Net(prefix, server, rateWindow)
		return v, 0, err
	}
	return nil
}

func netCount(t *task, args []string) error {
	server, addrErr := netip.ParseAddr(args[0])
	n, err := count(args[1], 1, 1<<30)
	if err := errors.Join(addrErr, err); err != nil {
		return err
	}
	t.run = func() ([]work.Value, int, error) {
		sent, err := work.SendDatagrams(server, n)
		return nil, sent, err
	}
	return nil
}

func serve(t *task, _ []string) error {
	t.run = func() ([]work.Value, int, error) {
		_, err := work.Serve(netip.IPv4Unspecified())
		return nil, 0, err
	}
	return nil
}

// checkDevice keeps fio from taking a word for a file of the initrd, or for two: it
// reads a colon as a separator.
func checkDevice(device string) error {
	if !strings.HasPrefix(device, "/") || strings.Contains(device, ":") {
		return fmt.Errorf("device %q is not an absolute path without colons", device)
	}
	return nil
}

func count(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, least, most)
	}
	return n, nil
}
