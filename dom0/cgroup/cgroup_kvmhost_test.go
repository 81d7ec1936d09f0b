//go:build kvmhost

package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mount returns the host's control groups, mounting them if nobody did.
func mount(t *testing.T) *Tree {
	t.Helper()
	root := Root
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		root = t.TempDir()
		if err := syscall.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	}
	tree, err := Open(root, "gozen.test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(tree.dir) })
	return tree
}

func TestGroup(t *testing.T) {
	tree := mount(t)
	g, err := tree.Create("guest", Limits{MemoryBytes: 64 << 20, CPUMillis: 1500, PIDs: 40})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Remove(10 * time.Second)
	for name, want := range map[string]string{
		"memory.max": "67108864", "cpu.max": "150000 100000", "pids.max": "40", "memory.oom.group": "1",
	} {
		b, err := os.ReadFile(filepath.Join(g.dir, name))
		if err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := tree.Create("guest", Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second group of that name: %v", err)
	}
	if names, err := tree.Names(); err != nil || len(names) != 1 || names[0] != "guest" {
		t.Errorf("%v, %v", names, err)
	}

	dir, err := g.OpenDir()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=TestSleeper")
	cmd.Env = []string{"SLEEPER=1"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = dir.Close()
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil || strings.TrimSpace(string(b)) == "" {
		t.Errorf("processes %q, %v", b, err)
	}
	// The process is reaped by us, as PID 1 reaps vmms of a daemon that is gone.
	done := make(chan error)
	go func() { done <- cmd.Wait() }()
	if err := g.Remove(10 * time.Second); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("the process ended well")
	}
	if err := g.Remove(time.Second); err != nil {
		t.Errorf("a group that is gone: %v", err)
	}
	if names, err := tree.Names(); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestSleeper is the process in the group: it waits for its end.
func TestSleeper(*testing.T) {
	if os.Getenv("SLEEPER") != "" {
		_, _ = os.Stdin.Read(make([]byte, 1))
	}
}
