package guests

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gozen/dom0/events"
	"gozen/dom0/fault"
	"gozen/dom0/guesttest"
	"gozen/dom0/images"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// manualClock stands still but for advance.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*timer
	armed  *sync.Cond
}

type timer struct {
	at time.Time
	c  chan time.Time
}

func newClock() *manualClock {
	c := &manualClock{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	c.armed = sync.NewCond(&c.mu)
	return c
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c.now.Add(d), make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	c.armed.Broadcast()
	return t.c
}

// advance waits until a timer of exactly d is set, then lets d pass.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.has(c.now.Add(d)) {
		c.armed.Wait()
	}
	c.now = c.now.Add(d)
	for i := 0; i < len(c.timers); {
		if t := c.timers[i]; !t.at.After(c.now) {
			t.c <- c.now
			c.timers = append(c.timers[:i], c.timers[i+1:]...)
			continue
		}
		i++
	}
}

func (c *manualClock) has(at time.Time) bool {
	for _, t := range c.timers {
		if t.at.Equal(at) {
			return true
		}
	}
	return false
}

// bench is a host without KVM, whose guests are processes of guesttest.
type bench struct {
	t     *testing.T
	dir   string
	clock *manualClock
	opt   Options
	m     *Manager
}

func newBench(t *testing.T) *bench {
	t.Helper()
	// Short, since the path of a Unix socket is.
	dir, err := os.MkdirTemp("", "gz")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir, clock: newClock()}
	t.Cleanup(func() {
		b.killAll()
		b.m.Close()
		_ = os.RemoveAll(dir)
	})
	vols, err := volumes.Open(filepath.Join(dir, "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	imgs, err := images.Open(filepath.Join(dir, "images"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	addImage(t, imgs, "vmlinuz", images.Kernel, guesttest.Kernel())
	addImage(t, imgs, "initrd", images.Initrd, []byte("070701"))
	b.opt = Options{
		StateDir:   filepath.Join(dir, "state"),
		RunDir:     filepath.Join(dir, "run"),
		VMM:        "/proc/self/exe",
		KVM:        os.DevNull,
		Start:      guesttest.Start,
		Volumes:    vols,
		Images:     imgs,
		HostCPUs:   4,
		HostMemory: 1 << 30,
		Reserved:   func() uint64 { return 128 << 20 },
		Clock:      b.clock,
		Log:        quiet(),
	}
	b.open()
	return b
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func addImage(t *testing.T, s *images.Store, name string, kind images.Kind, data []byte) {
	t.Helper()
	u, err := s.Upload(name, kind, uint64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Abort()
	if err := u.Write(0, data); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if _, err := u.Commit(sum[:]); err != nil {
		t.Fatal(err)
	}
}

// open starts a manager on what is there, as a daemon does.
func (b *bench) open() {
	b.t.Helper()
	b.opt.Events = events.NewLog(b.clock.Now)
	m, err := Open(b.opt)
	if err != nil {
		b.t.Fatal(err)
	}
	b.m = m
}

// restart replaces the daemon; reboot takes the guests down with it.
func (b *bench) restart(reboot bool) {
	b.t.Helper()
	b.m.Close()
	if reboot {
		b.killVMMs()
		if err := os.RemoveAll(b.opt.RunDir); err != nil {
			b.t.Fatal(err)
		}
	}
	b.open()
}

// killVMMs kills every vmm and waits for its end.
func (b *bench) killVMMs() {
	dirs, _ := os.ReadDir(b.opt.RunDir)
	for _, d := range dirs {
		dir := filepath.Join(b.opt.RunDir, d.Name())
		rec, err := readVMM(dir)
		if err != nil || rec == nil {
			continue
		}
		v, err := watch(dir, *rec, nil, quiet())
		if err != nil {
			continue
		}
		v.kill()
		<-v.ended
		v.close()
	}
}

func (b *bench) killAll() {
	for _, g := range b.m.List() {
		_, _ = b.m.Kill(context.Background(), g.Spec.Name)
	}
}

func (b *bench) create(spec *gozenv1.GuestSpec) *gozenv1.Guest {
	b.t.Helper()
	if spec.Kernel == "" {
		spec.Kernel = "vmlinuz"
	}
	g, err := b.m.Create(spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

func (b *bench) start(name string) *gozenv1.Guest {
	b.t.Helper()
	g, err := b.m.Start(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	if g.Status.State != running || g.Status.VmmPid == 0 {
		b.t.Fatalf("started guest has status %v", g.Status)
	}
	return g
}

func (b *bench) wait(name string, states ...gozenv1.GuestState) *gozenv1.Guest {
	b.t.Helper()
	g, err := b.m.Wait(b.t.Context(), name, states)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// tell types a line at the guest's console.
func (b *bench) tell(name, line string) {
	b.t.Helper()
	v, err := b.m.Console(name, false)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := v.Write([]byte(line + "\n")); err != nil {
		b.t.Fatal(err)
	}
}

// waitEvent waits for an event of the kind from now or before.
func (b *bench) waitEvent(f *events.Follower, kind string) events.Event {
	b.t.Helper()
	for {
		e, err := f.Next(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		if e.Kind == kind {
			return e
		}
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v (kind %v); want kind %v and %q in it", err, fault.KindOf(err), kind, text)
	}
}
