package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where the host mounts the control group file system.
const Root = "/sys/fs/cgroup"

// controllers are those that Limits needs, those that the kernel may lack last.
var controllers = []string{"cpu", "memory", "pids"}

// cpuPeriod is the period of cpu.max in microseconds, the kernel's default.
const cpuPeriod = 100_000

// Limits are what a group may use.
type Limits struct {
	MemoryBytes uint64 // memory.max; swap is never allowed
	CPUMillis   uint64 // thousandths of one CPU; 0 for no limit
	PIDs        uint64 // processes and threads
}

// Tree is the parent of the guests' groups.
type Tree struct{ dir string }

// Open creates the parent group below root, if need be, and turns on the
// controllers for its children.
func Open(root, parent string) (*Tree, error) {
	var fsinfo unix.Statfs_t
	if err := unix.Statfs(root, &fsinfo); err != nil {
		return nil, fmt.Errorf("control groups: %s: %w", root, err)
	}
	if fsinfo.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("control groups: %s is not mounted as cgroup2", root)
	}
	t := &Tree{dir: filepath.Join(root, parent)}
	if err := os.Mkdir(t.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	for _, dir := range []string{root, t.dir} {
		if err := enable(dir); err != nil {
			return nil, fmt.Errorf("control groups: %w", err)
		}
	}
	return t, nil
}

func enable(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(b))
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			return fmt.Errorf("%s: the kernel has no controller %q here", dir, c)
		}
	}
	return write(dir, "cgroup.subtree_control", "+"+strings.Join(controllers, " +"))
}

// Create makes a group with the limits. A group of that name must not exist.
func (t *Tree) Create(name string, l Limits) (_ *Group, err error) {
	g := t.Group(name)
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(g.dir)
		}
	}()
	cpu := "max"
	if l.CPUMillis > 0 {
		cpu = strconv.FormatUint(l.CPUMillis*(cpuPeriod/1000), 10)
	}
	for _, f := range []struct{ name, value string }{
		{"memory.max", strconv.FormatUint(l.MemoryBytes, 10)},
		{"memory.swap.max", "0"},
		{"memory.oom.group", "1"}, // a vmm without one of its threads is no vmm
		{"cpu.max", fmt.Sprintf("%s %d", cpu, cpuPeriod)},
		{"pids.max", strconv.FormatUint(l.PIDs, 10)},
	} {
		err := write(g.dir, f.name, f.value)
		if f.name == "memory.swap.max" && errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without swap
		}
		if err != nil {
			return nil, fmt.Errorf("control group: %w", err)
		}
	}
	return g, nil
}

// Group returns the group of that name, which may not exist.
func (t *Tree) Group(name string) *Group { return &Group{dir: filepath.Join(t.dir, name)} }

// Names returns the groups there are.
func (t *Tree) Names() ([]string, error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Group is one guest's group.
type Group struct{ dir string }

// OpenDir opens the group's directory, for syscall.SysProcAttr.CgroupFD.
func (g *Group) OpenDir() (*os.File, error) {
	f, err := os.OpenFile(g.dir, unix.O_DIRECTORY|unix.O_PATH, 0)
	if err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	return f, nil
}

// Remove kills whatever is in the group, waits until it is gone (no longer than
// timeout) and removes the group. A group that does not exist is no error.
func (g *Group) Remove(timeout time.Duration) error {
	events, err := os.Open(filepath.Join(g.dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	defer events.Close()
	if err := write(g.dir, "cgroup.kill", "1"); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	deadline := time.Now().Add(timeout)
	for {
		// Reading arms the poll below: a change after this read wakes it.
		b := make([]byte, 256)
		n, err := events.ReadAt(b, 0)
		if n == 0 && err != nil {
			return fmt.Errorf("control group: %w", err)
		}
		if counters(b[:n])["populated"] == 0 {
			break
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("control group %s: its processes do not end", filepath.Base(g.dir))
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("control group: poll: %w", err)
		}
	}
	if err := os.Remove(g.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control group: %w", err)
	}
	return nil
}

// OOMKills returns how many processes of the group the kernel killed because the
// group had used up its memory.
func (g *Group) OOMKills() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	if err != nil {
		return 0, fmt.Errorf("control group: %w", err)
	}
	return counters(b)["oom_kill"], nil
}

// CPUTime returns the processor time that the group's processes used.
func (g *Group) CPUTime() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("control group: %w", err)
	}
	return time.Duration(counters(b)["usage_usec"]) * time.Microsecond, nil
}

// counters reads a flat keyed file: lines of a word and a number.
func counters(b []byte) map[string]uint64 {
	m := make(map[string]uint64)
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			m[key] = n
		}
	}
	return m
}

// write sets a control file, which must exist: with O_CREATE a misspelt name
// would fail in a confusing way.
func write(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("%q: %w", value, err)
	}
	return nil
}
