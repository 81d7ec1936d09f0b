package guests

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gozen/dom0/fault"
	"gozen/dom0/guesttest"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func TestMain(m *testing.M) {
	guesttest.Main()
	os.Exit(m.Run())
}

func TestLife(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web", Initrd: "initrd"})
	g := b.start("web")
	if _, err := b.m.Start(t.Context(), "web"); err == nil {
		t.Error("a running guest was started")
	} else {
		wantKind(t, err, fault.Precondition, "is running already")
	}
	wantKind(t, b.m.Delete(t.Context(), "web", false), fault.Precondition, "is running")
	stats, err := b.m.Stats(t.Context(), "web")
	if err != nil || stats.VMM.KVM["exits"] != 42 || stats.VMMPrivate == 0 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	end, killed, err := b.m.Stop(t.Context(), "web", 0)
	if err != nil || killed || end.Status.State != stopped || end.Status.ReasonCode != "power-off" || end.Status.VmmPid != 0 {
		t.Errorf("stopped: %v, killed %v, %v", end, killed, err)
	}
	if _, _, err := b.m.Stop(t.Context(), "web", 0); fault.KindOf(err) != fault.Precondition {
		t.Errorf("stop of a stopped guest: %v", err)
	}
	if stats, err := b.m.Stats(t.Context(), "web"); err != nil || stats.VMM.KVM["exits"] != 42 {
		t.Errorf("stats of the end %+v, %v", stats, err)
	}
	if err := b.m.Delete(t.Context(), "web", false); err != nil {
		t.Error(err)
	}
	if _, err := b.m.Get("web"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a deleted guest: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.opt.RunDir, g.Id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its run directory: %v", err)
	}
	if err := b.opt.Images.Delete("vmlinuz"); err != nil {
		t.Errorf("its kernel is still claimed: %v", err)
	}
}

func TestStopDeadlineKills(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web", Cmdline: "deaf"})
	b.start("web")
	type result struct {
		g      *gozenv1.Guest
		killed bool
		err    error
	}
	done := make(chan result)
	go func() {
		g, killed, err := b.m.Stop(t.Context(), "web", 30*time.Second)
		done <- result{g, killed, err}
	}()
	b.wait("web", stopping)
	b.clock.advance(30 * time.Second)
	r := <-done
	if r.err != nil || !r.killed || r.g.Status.State != stopped || r.g.Status.ReasonCode != "killed" {
		t.Errorf("%+v", r)
	}
}

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		tell, code string
		state      gozenv1.GuestState
	}{
		{"poweroff", "power-off", stopped},
		{"panic", "panic", crashedS},
		{"triple-fault", "triple-fault", crashedS},
		{"die", "vmm-died", crashedS},
	} {
		t.Run(c.code, func(t *testing.T) {
			b := newBench(t)
			b.create(&gozenv1.GuestSpec{Name: "web"})
			b.start("web")
			b.tell("web", c.tell)
			g := b.wait("web", stopped, crashedS)
			if g.Status.State != c.state || g.Status.ReasonCode != c.code || g.Status.Reason == "" {
				t.Errorf("status %v", g.Status)
			}
			b.start("web") // and can be started again
		})
	}
}

func TestKilledVMM(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web"})
	b.start("web")
	b.killVMMs()
	g := b.wait("web", crashedS)
	if g.Status.ReasonCode != "vmm-died" || !strings.Contains(g.Status.Reason, "signal: killed") {
		t.Errorf("status %v", g.Status)
	}
	for _, name := range []string{controlFile, vmmFile} {
		if _, err := os.Stat(filepath.Join(b.opt.RunDir, g.Id, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailedStarts(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web", Cmdline: "no-start"})
	_, err := b.m.Start(t.Context(), "web")
	wantKind(t, err, fault.Aborted, "told not to start")
	if g := b.wait("web", crashedS); g.Status.ReasonCode != "start-failed" || g.Status.Reason != "told not to start" {
		t.Errorf("status %v", g.Status)
	}
	b.m.opt.KVM = filepath.Join(b.dir, "no-kvm")
	_, err = b.m.Start(t.Context(), "web")
	wantKind(t, err, fault.Unavailable, "virtualization")
	b.m.opt.KVM = os.DevNull
	b.m.opt.Start = nil // not reached
	b.create(&gozenv1.GuestSpec{Name: "net", Nics: []*gozenv1.Nic{{}}})
	_, err = b.m.Start(t.Context(), "net")
	wantKind(t, err, fault.Unavailable, "network")
	g, err := b.m.Get("net")
	if err != nil || g.Status.State != stopped {
		t.Errorf("a guest that could not start: %v, %v", g, err)
	}
	if given, n, _ := b.m.Memory(); given != 0 || n != 0 {
		t.Errorf("%d bytes are given to %d guests that do not run", given, n)
	}
}

func TestVolumesAreLockedWhileOpen(t *testing.T) {
	b := newBench(t)
	if _, err := b.opt.Volumes.Create("disk", 1<<20); err != nil {
		t.Fatal(err)
	}
	b.create(&gozenv1.GuestSpec{Name: "web", Disks: []*gozenv1.Disk{{Volume: "disk"}}})
	b.start("web")
	_, err := b.opt.Volumes.OpenFile(volumes.Use{Volume: "disk", ReadOnly: true})
	wantKind(t, err, fault.Precondition, "has it open")
	_, err = b.m.Create(&gozenv1.GuestSpec{Name: "db", Kernel: "vmlinuz", Disks: []*gozenv1.Disk{{Volume: "disk", ReadOnly: true}}})
	wantKind(t, err, fault.Precondition, `in use by guest "web"`)
	if err := b.m.Delete(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	f, err := b.opt.Volumes.OpenFile(volumes.Use{Volume: "disk"})
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

func TestRestartPolicy(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web", Restart: gozenv1.RestartPolicy_RESTART_POLICY_ON_CRASH})
	b.start("web")
	f := b.opt.Events.Follow(false)
	defer f.Close()
	for i, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		b.tell("web", "panic")
		b.waitEvent(f, "crashed")
		b.clock.advance(pause)
		b.waitEvent(f, "running")
		g, err := b.m.Get("web")
		if err != nil || g.Status.Restarts != uint32(i+1) {
			t.Fatalf("after crash %d: %v, %v", i+1, g, err)
		}
	}
	// A reboot starts at once and is no crash.
	b.tell("web", "reset")
	b.waitEvent(f, "running")
	if g, err := b.m.Get("web"); err != nil || g.Status.Restarts != 3 {
		t.Errorf("after a reboot: %v, %v", g, err)
	}
	// A restart that is due is given up by a stop.
	b.tell("web", "die")
	b.waitEvent(f, "restarting")
	if _, _, err := b.m.Stop(t.Context(), "web", 0); err != nil {
		t.Error(err)
	}
	b.tellFails("web")
	// Powered off by itself, it stays off.
	b.start("web")
	b.tell("web", "poweroff")
	b.wait("web", stopped)
}

func (b *bench) tellFails(name string) {
	b.t.Helper()
	_, err := b.m.Console(name, false)
	wantKind(b.t, err, fault.Precondition, "is not running")
}

func TestDaemonRestartFindsGuests(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"stays", "stops", "dies"} {
		b.create(&gozenv1.GuestSpec{Name: name})
		b.start(name)
	}
	pid := b.wait("stays", running).Status.VmmPid
	b.tell("stays", "print before")
	b.m.Close()
	// Two end while no daemon looks, one in order and one not.
	for name, line := range map[string]string{"stops": "poweroff", "dies": "die"} {
		g := b.m.guests[name]
		v, err := watch(g.dir, g.vm.vmmRecord, nil, quiet())
		if err != nil {
			t.Fatal(err)
		}
		c := newConsole(g.ringPath())
		if err := c.attach(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
		<-v.ended
		c.close()
		v.close()
	}
	b.open()
	if g := b.wait("stays", running); g.Status.VmmPid != pid {
		t.Errorf("found process %d, want %d", g.Status.VmmPid, pid)
	}
	if g := b.wait("stops", stopped); g.Status.ReasonCode != "power-off" {
		t.Errorf("status %v", g.Status)
	}
	if g := b.wait("dies", crashedS); g.Status.ReasonCode != "vmm-died" {
		t.Errorf("status %v", g.Status)
	}
	if _, n, _ := b.m.Memory(); n != 1 {
		t.Errorf("memory is given to %d guests", n)
	}
	b.tell("stays", "print after")
	b.readUntil("stays", "before\nafter\n")
	if _, killed, err := b.m.Stop(t.Context(), "stays", 0); err != nil || killed {
		t.Errorf("stop: killed %v, %v", killed, err)
	}
}

// readUntil reads the guest's log until it is text.
func (b *bench) readUntil(name, text string) {
	b.t.Helper()
	v, err := b.m.Log(name, true)
	if err != nil {
		b.t.Fatal(err)
	}
	var got bytes.Buffer
	for got.String() != text {
		data, offset, err := v.Read(b.t.Context())
		if err != nil {
			b.t.Fatalf("after %q: %v", got.String(), err)
		}
		if offset != uint64(got.Len()) {
			b.t.Fatalf("offset %d after %d bytes", offset, got.Len())
		}
		got.Write(data)
		if !strings.HasPrefix(text, got.String()) {
			b.t.Fatalf("log %q, want %q", got.String(), text)
		}
	}
}

func TestForeignProcessIsNotTaken(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web"})
	g := b.start("web")
	b.m.Close()
	dir := filepath.Join(b.opt.RunDir, g.Id)
	rec, err := readVMM(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.killVMMs()
	// The number belongs to another process now: this one.
	other := *rec
	other.PID = os.Getpid()
	if err := (&vm{vmmRecord: other, dir: dir}).save(); err != nil {
		t.Fatal(err)
	}
	b.open()
	if g := b.wait("web", crashedS); g.Status.ReasonCode != "vmm-died" {
		t.Errorf("status %v", g.Status)
	}
}

// A guest that the admin killed is not restarted by a daemon that did not see
// its end.
func TestKillIsRemembered(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web", Restart: gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS})
	g := b.start("web")
	b.m.Close()
	dir := filepath.Join(b.opt.RunDir, g.Id)
	rec, err := readVMM(dir)
	if err != nil {
		t.Fatal(err)
	}
	killed := *rec
	killed.Killed = true
	if err := (&vm{vmmRecord: killed, dir: dir}).save(); err != nil {
		t.Fatal(err)
	}
	b.killVMMs()
	b.open()
	if g := b.wait("web", stopped); g.Status.ReasonCode != "killed" {
		t.Errorf("status %v", g.Status)
	}
	b.tellFails("web")
}

func TestHostRestart(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "plain"})
	b.create(&gozenv1.GuestSpec{Name: "auto", Autostart: true})
	b.create(&gozenv1.GuestSpec{Name: "always", Restart: gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS})
	b.create(&gozenv1.GuestSpec{Name: "off", Restart: gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS})
	for _, name := range []string{"plain", "auto", "always"} {
		b.start(name)
	}
	b.restart(true)
	if g := b.wait("plain", stopped); g.Status.ReasonCode != "host-restart" {
		t.Errorf("status %v", g.Status)
	}
	b.m.Autostart(t.Context())
	b.wait("auto", running)
	b.wait("always", running)
	b.wait("plain", stopped)
	b.wait("off", stopped)
	// Once a boot: a daemon's restart leaves alone what the admin stopped since.
	if _, _, err := b.m.Stop(t.Context(), "auto", 0); err != nil {
		t.Fatal(err)
	}
	b.restart(false)
	b.m.Autostart(t.Context())
	b.wait("auto", stopped)
	b.wait("always", running)
}

func TestShutdown(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "good", Restart: gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS})
	b.create(&gozenv1.GuestSpec{Name: "deaf", Cmdline: "deaf"})
	b.create(&gozenv1.GuestSpec{Name: "off"})
	b.start("good")
	b.start("deaf")
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.m.Shutdown(context.Background(), 20*time.Second)
	}()
	b.wait("good", stopped)
	b.wait("deaf", stopping)
	b.clock.advance(20 * time.Second)
	<-done
	for _, name := range []string{"good", "deaf"} {
		if g := b.wait(name, stopped); g.Status.ReasonCode != "host-restart" {
			t.Errorf("%s: %v", name, g.Status)
		}
	}
	_, err := b.m.Start(t.Context(), "off")
	wantKind(t, err, fault.Unavailable, "shutting down")
	b.m.Resume()
	b.start("off")
}

func TestConsole(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web"})
	_, err := b.m.Console("web", true)
	wantKind(t, err, fault.Precondition, "not running")
	b.start("web")
	first, err := b.m.Console("web", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Resize(t.Context(), 80, 24); err != nil {
		t.Fatal(err)
	}
	b.tell("web", "print hello")
	b.readUntil("web", "size 80x24\nhello\n")
	late, err := b.m.Console("web", false)
	if err != nil {
		t.Fatal(err)
	}
	b.tell("web", "reset") // a viewer stays over a reboot
	f := b.opt.Events.Follow(true)
	defer f.Close()
	b.waitEvent(f, "restarting")
	b.waitEvent(f, "running")
	b.tell("web", "print again")
	b.readUntil("web", "size 80x24\nhello\nagain\n")
	b.tell("web", "poweroff")
	for _, c := range []struct {
		v    *Viewer
		want string
	}{{first, "size 80x24\nhello\nagain\n"}, {late, "again\n"}} {
		var got []byte
		for {
			data, _, err := c.v.Read(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, data...)
		}
		if string(got) != c.want {
			t.Errorf("viewer saw %q, want %q", got, c.want)
		}
	}
	b.wait("web", stopped)
	b.readUntil("web", "size 80x24\nhello\nagain\n") // the log outlives the vmm
	b.start("web")
	b.tell("web", "print new")
	b.readUntil("web", "new\n")
}

func TestDeviceErrors(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web"})
	b.start("web")
	f := b.opt.Events.Follow(false)
	defer f.Close()
	b.tell("web", "device-error")
	b.waitEvent(f, "device-error")
	g, err := b.m.Get("web")
	if err != nil || len(g.Status.DeviceErrors) != 1 || g.Status.DeviceErrors[0] != "virtio-net0: descriptor 9 out of range" {
		t.Errorf("%v, %v", g, err)
	}
}

func TestWaitEndsWithTheGuest(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "web"})
	err := make(chan error)
	go func() {
		_, e := b.m.Wait(t.Context(), "web", []gozenv1.GuestState{running})
		err <- e
	}()
	if e := b.m.Delete(t.Context(), "web", false); e != nil {
		t.Fatal(e)
	}
	if e := <-err; fault.KindOf(e) != fault.NotFound {
		t.Errorf("error %v", e)
	}
}

func TestMemoryIsCounted(t *testing.T) {
	b := newBench(t) // 1 GiB, of it 128 MiB reserved
	for _, name := range []string{"a", "b", "c"} {
		b.create(&gozenv1.GuestSpec{Name: name, MemoryBytes: 400 << 20})
	}
	b.start("a")
	b.start("b")
	_, err := b.m.Start(t.Context(), "c")
	wantKind(t, err, fault.Exhausted, `guest "c": memory 400MiB: host has 48MiB free (1GiB total, 800MiB given to 2 guests)`)
	if _, err := b.m.Kill(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	b.start("c")
}

func TestBrokenStateIsMovedAway(t *testing.T) {
	b := newBench(t)
	b.create(&gozenv1.GuestSpec{Name: "good"})
	b.create(&gozenv1.GuestSpec{Name: "bad"})
	b.m.Close()
	path := filepath.Join(b.opt.StateDir, "specs", "bad.json")
	if err := os.WriteFile(path, []byte(`{"version":1,"surprise":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	if l := b.m.List(); len(l) != 1 || l[0].Spec.Name != "good" {
		t.Errorf("guests %v", l)
	}
	moved, err := os.ReadDir(filepath.Join(b.opt.StateDir, "specs", "broken"))
	if err != nil || len(moved) != 1 {
		t.Errorf("moved away: %v, %v", moved, err)
	}
}
