//go:build system

package system

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/qemu-tests/writecache"
)

// Everything that a guest had synced, and everything that the API said was made,
// is there after a power cut of the host, and the guest marked autostart runs
// again. The host's data disk loses what was not flushed.
func TestPowerCut(t *testing.T) {
	random := seeded(t)
	h := newHost(t, hostOptions{dataDisk: 1 << 30, volatile: random})
	h.prepare(t)
	h.volume(t, "durable", 256*mib)
	spec := small("durable")
	spec.Autostart = true
	spec.Disks = []*gozenv1.Disk{{Volume: "durable"}}
	c := h.boot(t, spec)
	c.send("stream /dev/vda 7\n")
	c.expect(`synced \d\d\d+\r?\n`, 5*time.Minute)
	// A sync takes two flushes: of its data, and of the record of it in the log of
	// the host's file system. The power goes before one of them, with half of the
	// blocks that it was to make durable.
	h.untilFlush(t, 1+random.IntN(6))
	h.cutPower(t, 0.5)
	synced := c.last(`synced (\d+)\r?\n`)

	h.bootAgain(t)
	last, err := strconv.Atoi(synced)
	if err != nil {
		t.Fatal(err)
	}
	h.restarted(t, "durable", last+1)
	t.Logf("%d synced blocks are there", last+1)

	// The guest is idle, so nothing but the daemon's own flushes keeps these. The
	// second one's would keep the first, so each gets its turn to be the last.
	volume := func() { h.volume(t, "late", 8*mib) }
	guest := func() { h.create(t, small("late")) }
	if random.IntN(2) == 0 {
		t.Log("a volume is made, then a guest")
		volume()
		guest()
	} else {
		t.Log("a guest is made, then a volume")
		guest()
		volume()
	}
	h.cutPower(t, 0)

	h.bootAgain(t)
	h.restarted(t, "durable", last+1)
	v, err := h.volumes.Get(ctx(t), connect.NewRequest(&gozenv1.GetVolumeRequest{Name: "late"}))
	if err != nil {
		t.Fatal(err)
	}
	if size := v.Msg.GetVolume().GetSizeBytes(); size != 8*mib {
		t.Errorf("the volume created last has %d bytes, want %d", size, 8*mib)
	}
	h.start(t, "late")
	h.attach(t, "late").ready()
	h.shutdown(t)
}

// seeded returns random numbers whose seed is in the test's output. The same seed
// makes the same choices; what they meet depends on the machine's timing.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("GOZEN_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 0, 64); err != nil {
			t.Fatalf("GOZEN_TEST_SEED: %v", err)
		}
	}
	t.Logf("GOZEN_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// last returns the first group of the last match in all that the console showed.
func (c *console) last(expr string) string {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	matches := regexp.MustCompile(expr).FindAllSubmatch(c.text, -1)
	if len(matches) == 0 {
		c.t.Fatalf("console of %s: no %q", c.guest, expr)
	}
	return string(matches[len(matches)-1][1])
}

// restarted waits until the guest runs that starts with the host, and checks its
// first blocks.
func (h *host) restarted(t *testing.T, name string, blocks int) {
	t.Helper()
	h.wait(t, name, gozenv1.GuestState_GUEST_STATE_RUNNING)
	h.attach(t, name).ready().do("verify /dev/vda 0 %d 7", blocks)
}

// untilFlush waits until the data disk has n flushes more to do, the last of which
// it does not answer.
func (h *host) untilFlush(t *testing.T, n int) {
	t.Helper()
	select {
	case <-h.disk.StallAtFlush(n):
		t.Logf("the disk stalls at flush %d from there", n)
	case <-time.After(hostTime):
		t.Fatalf("no %d flushes of the disk within %v", n, hostTime)
	}
}

// startDisk connects the data disk with a write cache to its power, and returns
// the socket that serves it.
func (h *host) startDisk(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(h.dir, fmt.Sprintf("disk%d", h.boots))
	d, err := writecache.Start(h.dataDisk(), socket, h.options.volatile.Uint64())
	if err != nil {
		t.Fatal(err)
	}
	h.disk = d
	return socket
}

// stopDisk frees what a volatile data disk uses.
func (h *host) stopDisk(t *testing.T) {
	t.Helper()
	if h.disk == nil {
		return
	}
	if _, err := h.disk.Cut(0); err != nil {
		t.Error(err)
	}
}

// cutPower ends the machine between two instructions, and the data disk with it.
// Each block that the disk has not flushed survives with the probability keep.
func (h *host) cutPower(t *testing.T, keep float64) {
	t.Helper()
	h.machine.Kill()
	h.client.Close()
	lost, err := h.disk.Cut(keep)
	if err != nil {
		t.Fatal(err)
	}
	if lost.Flushes == 0 {
		t.Error("the disk was never flushed")
	}
	t.Logf("power cut after %d flushes: of the blocks that were not flushed, %d got to the disk and %d are lost", lost.Flushes, lost.Kept, lost.Lost)
}
