//go:build kvmhost

package guests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gozen/dom0/cgroup"
	"gozen/dom0/jail"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// jailed makes the bench a host with the real jail and control groups.
func jailed(t *testing.T) (*bench, string) {
	t.Helper()
	root := cgroup.Root
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		root = t.TempDir()
		if err := syscall.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	}
	tree, err := cgroup.Open(root, "gozen.jailed")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.m.Close()
	b.opt.Cgroups, b.opt.Start, b.opt.Confine = tree, jail.Start, true
	b.open()
	return b, filepath.Join(root, "gozen.jailed")
}

func TestVMMHasNoRights(t *testing.T) {
	b, groups := jailed(t)
	g := b.create(&gozenv1.GuestSpec{Name: "web", MemoryBytes: 64 << 20})
	pid := b.start("web").Status.VmmPid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	status := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		"Uid: 100000 100000 100000 100000", "Gid: 100000 100000 100000 100000", "NoNewPrivs: 1",
		"CapEff: 0000000000000000", "CapPrm: 0000000000000000", "CapBnd: 0000000000000000",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	for _, ns := range []string{"mnt", "net", "ipc", "uts", "pid"} {
		ours, err1 := os.Readlink("/proc/self/ns/" + ns)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err1 != nil || err2 != nil || ours == theirs {
			t.Errorf("namespace %s is shared: %s, %v, %v", ns, ours, err1, err2)
		}
	}
	group := filepath.Join(groups, g.Id)
	procs, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil || strings.TrimSpace(string(procs)) != fmt.Sprint(pid) {
		t.Errorf("processes of the control group %q, %v", procs, err)
	}
	stats, err := b.m.Stats(t.Context(), "web")
	if err != nil || stats.CPUTime == 0 || stats.VMMPrivate == 0 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	// Also the next daemon can reach it, and end it.
	b.restart(false)
	b.tell("web", "print hello")
	b.readUntil("web", "hello\n")
	if _, err := b.m.Kill(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control group: %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	b, _ := jailed(t)
	b.create(&gozenv1.GuestSpec{Name: "web", MemoryBytes: 16 << 20})
	b.start("web")
	b.tell("web", "eat")
	g := b.wait("web", crashedS)
	if g.Status.ReasonCode != codeVMMDied || !strings.Contains(g.Status.Reason, "memory limit") {
		t.Errorf("status %v", g.Status)
	}
}

func TestVMMCanFillOnlyItsOutbox(t *testing.T) {
	b, _ := jailed(t)
	g := b.create(&gozenv1.GuestSpec{Name: "web"})
	b.start("web")
	b.tell("web", "flood")
	if s := b.wait("web", crashedS).Status; s.ReasonCode != codeVMMDied {
		t.Errorf("status %v", s)
	}
	box := filepath.Join(b.opt.RunDir, g.Id, outbox)
	var st syscall.Statfs_t
	if err := syscall.Statfs(box, &st); err != nil || st.Blocks*uint64(st.Bsize) > 4<<20 || st.Bfree != 0 {
		t.Errorf("the outbox has %d blocks, %d free, %v", st.Blocks, st.Bfree, err)
	}
	b.start("web") // its files are made anew
	if err := b.m.Delete(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(box)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run directory: %v", err)
	}
}

func TestLeftOversAreSwept(t *testing.T) {
	b, groups := jailed(t)
	g := b.create(&gozenv1.GuestSpec{Name: "web"})
	pid := b.start("web").Status.VmmPid
	b.m.Close()
	// As if the daemon had died before it could note the vmm.
	if err := os.Remove(filepath.Join(b.opt.RunDir, g.Id, vmmFile)); err != nil {
		t.Fatal(err)
	}
	b.open()
	if st := b.wait("web", stopped).Status; st.ReasonCode != codeHostRestart {
		t.Errorf("status %v", st)
	}
	if _, err := os.Stat(filepath.Join(groups, g.Id)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control group: %v", err)
	}
	if err := syscall.Kill(int(pid), 0); err == nil {
		// Ours to reap, as no daemon waits for it.
		if _, err := syscall.Wait4(int(pid), nil, 0, nil); err != nil && !errors.Is(err, syscall.ECHILD) {
			t.Error(err)
		}
	}
	b.start("web")
}
