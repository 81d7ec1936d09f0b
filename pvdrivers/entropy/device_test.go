package entropy

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// clock is a clock that the test moves.
type clock struct {
	mu      sync.Mutex
	now     time.Time
	waiting chan time.Duration // each wait that the device begins
	ring    chan time.Time
}

func newClock() *clock {
	return &clock{now: time.Unix(5000, 0), waiting: make(chan time.Duration, 16), ring: make(chan time.Time)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.waiting <- d
	return c.ring
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// pass advances the clock and ends the device's wait.
func (c *clock) pass(d time.Duration) {
	c.advance(d)
	c.ring <- c.Now()
}

func openSource(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

type rig struct {
	*testing.T
	dev   *Device
	clock *clock
	guest *vqtest.Guest
	q     *vqtest.Queue
	tr    *vqtest.Transport
}

func newRig(t *testing.T, rate uint64, source string) *rig {
	t.Helper()
	r := &rig{T: t, clock: newClock(), guest: vqtest.NewGuest(t, 1<<20)}
	var err error
	r.dev, err = New(Config{Name: "virtio-rng0", Source: openSource(t, source), BytesPerSecond: rate, Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.dev.Reset()
		if err := r.dev.Close(); err != nil {
			t.Error(err)
		}
	})
	r.q = r.guest.NewQueue(queueSize, virtio.FeatureEventIdx)
	r.activate()
	return r
}

func (r *rig) activate() {
	r.Helper()
	r.tr = r.guest.NewTransport(virtio.FeatureEventIdx, r.q)
	if err := r.dev.Activate(r.tr.Activation); err != nil {
		r.Fatal(err)
	}
}

func TestFillsBuffers(t *testing.T) {
	r := newRig(t, 1<<20, "/dev/urandom")
	seen := map[string]bool{}
	for range 8 {
		addr := r.guest.Alloc(64)
		u := r.q.Do(vqtest.Buffer{Addr: addr, Len: 20, Writable: true}, vqtest.Buffer{Addr: addr + 20, Len: 44, Writable: true})
		b := r.guest.Bytes(addr, 64)
		if u.Len != 64 || bytes.Equal(b[:20], make([]byte, 20)) || bytes.Equal(b[20:], make([]byte, 44)) || seen[string(b)] {
			t.Errorf("used %d: % x", u.Len, b)
		}
		seen[string(b)] = true
	}
	if c := r.dev.Counters(); c["requests"] != 8 || c["bytes"] != 512 || c["throttled"] != 0 {
		t.Errorf("counters %v", c)
	}
}

func TestRequestIsCapped(t *testing.T) {
	r := newRig(t, 1<<20, "/dev/urandom")
	for n, want := range map[uint32]uint32{MaxRequest - 1: MaxRequest - 1, MaxRequest: MaxRequest, MaxRequest + 1: MaxRequest, 64 << 10: MaxRequest} {
		addr := r.guest.Alloc(int(n))
		if u := r.q.Do(vqtest.Buffer{Addr: addr, Len: n, Writable: true}); u.Len != want {
			t.Errorf("request of %d was given %d, want %d", n, u.Len, want)
		}
		if rest := r.guest.Bytes(addr, int(n))[want:]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Errorf("request of %d: bytes past its end were written", n)
		}
	}
}

func TestRateIsKept(t *testing.T) {
	r := newRig(t, 1000, "/dev/urandom")
	buf := vqtest.Buffer{Addr: r.guest.Alloc(4096), Len: 600, Writable: true}
	if u := r.q.Do(buf); u.Len != 600 {
		t.Errorf("first request: %d", u.Len)
	}
	if u := r.q.Do(buf); u.Len != 400 {
		t.Errorf("rest of the bucket: %d", u.Len)
	}
	r.q.Add(buf)
	r.q.Kick()
	if d := <-r.clock.waiting; d != 600*time.Millisecond {
		t.Errorf("waits %v for 600 bytes at 1000 a second", d)
	}
	if _, ok := r.q.TryUsed(); ok {
		t.Error("answered without tokens")
	}
	r.clock.pass(600 * time.Millisecond)
	if u := r.q.WaitUsed(); u.Len != 600 {
		t.Errorf("after the wait: %d", u.Len)
	}
	if n := r.dev.Counters()["throttled"]; n != 1 {
		t.Errorf("throttled %d", n)
	}
}

func TestResetDoesNotWaitForTokensAndEarnsNone(t *testing.T) {
	r := newRig(t, 100, "/dev/urandom")
	buf := vqtest.Buffer{Addr: r.guest.Alloc(128), Len: 100, Writable: true}
	r.q.Do(buf)
	r.q.Add(buf)
	r.q.Kick()
	<-r.clock.waiting
	r.dev.Reset()
	if avail, used := r.dev.Position(0); avail != 1 || used != 1 {
		t.Errorf("the unanswered request counts as taken: %d, %d", avail, used)
	}
	r.q.Restart()
	r.activate()
	r.q.Add(buf)
	r.q.Kick()
	if d := <-r.clock.waiting; d != time.Second {
		t.Errorf("after a reset waits %v", d)
	}
}

func TestSourceThatEnds(t *testing.T) {
	path := t.TempDir() + "/short"
	if err := os.WriteFile(path, make([]byte, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 1000, path)
	r.q.Add(vqtest.Buffer{Addr: r.guest.Alloc(16), Len: 16, Writable: true})
	r.q.Kick()
	<-r.tr.Failed()
	if r.dev.Counters()["errors"] != 1 {
		t.Errorf("counters %v", r.dev.Counters())
	}
}

func TestHostileRequests(t *testing.T) {
	for name, b := range map[string]vqtest.Buffer{
		"readable only":  {Addr: 0, Len: 16},
		"outside memory": {Addr: 1 << 50, Len: 16, Writable: true},
	} {
		r := newRig(t, 1000, "/dev/urandom")
		r.q.Add(b)
		r.q.Kick()
		<-r.tr.Failed()
		if n := r.dev.Counters()["bytes"]; n != 0 {
			t.Errorf("%s: %d bytes given", name, n)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no rate":   {Source: 0},
		"no source": {Source: -1, BytesPerSecond: 1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSaveAndRestore(t *testing.T) {
	r := newRig(t, 1000, "/dev/urandom")
	r.q.Do(vqtest.Buffer{Addr: r.guest.Alloc(1000), Len: 700, Writable: true})
	r.dev.Reset()
	raw, err := r.dev.Save()
	if err != nil {
		t.Fatal(err)
	}
	next := newRig(t, 1000, "/dev/urandom")
	next.dev.Reset()
	next.q.Restart()
	if err := next.dev.Restore(raw); err != nil {
		t.Fatal(err)
	}
	next.activate()
	if u := next.q.Do(vqtest.Buffer{Addr: next.guest.Alloc(1000), Len: 1000, Writable: true}); u.Len != 300 {
		t.Errorf("restored device gave %d bytes, want the 300 that were left", u.Len)
	}
	for _, bad := range []string{"", `{"version":9}`} {
		if next.dev.Restore([]byte(bad)) == nil {
			t.Errorf("restored from %q", bad)
		}
	}
}

func TestFillDoesNotAllocate(t *testing.T) {
	r := newRig(t, 1000, "/dev/urandom")
	segs := [][]byte{r.guest.Bytes(0, 64), r.guest.Bytes(128, 64)}
	if n := testing.AllocsPerRun(100, func() {
		if got, err := r.dev.fill(segs); got != 128 || err != nil {
			t.Fatal(got, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
