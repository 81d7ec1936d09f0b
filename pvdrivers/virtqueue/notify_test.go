package virtqueue_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// serve returns every chain until the queue is stopped, as a device does.
func serve(q *virtqueue.Queue, done chan<- error) {
	c := q.NewChain()
	for {
		ok, err := q.Pop(c)
		if ok {
			q.Push(c.Head, 0)
			err = q.Publish()
		} else if err == nil {
			err = q.Await()
		}
		if err != nil {
			done <- err
			return
		}
	}
}

// Driver and device each sleep whenever they may and wake each other only when
// asked to. A notification that gets lost shows as a device that does not
// interrupt.
func TestNoNotificationIsLost(t *testing.T) {
	const requests = 8000
	for _, features := range []uint64{0, virtio.FeatureEventIdx} {
		for _, depth := range []int{1, 2, 7} {
			t.Run(fmt.Sprintf("features %#x depth %d", features, depth), func(t *testing.T) {
				g, drv, dev := newPair(t, 8, features)
				done := make(chan error)
				go serve(dev, done)
				b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
				for added, back := 0, 0; back < requests; back++ {
					for added < requests && added-back < depth {
						drv.Add(b)
						drv.Kick()
						added++
					}
					drv.WaitUsed()
				}
				dev.Stop()
				if err := <-done; !errors.Is(err, eventfd.ErrClosed) {
					t.Errorf("the device ended with %v", err)
				}
				if k, c := dev.Kicks(), dev.Calls(); k > requests || c > requests {
					t.Errorf("%d kicks, %d interrupts for %d requests", k, c, requests)
				}
			})
		}
	}
}

// The driver kicks a device that asked for it, and no other. Kicks that are
// pending keep Await from waiting, so that all happens in one goroutine.
func TestKickSuppression(t *testing.T) {
	steps := func(features uint64) (add func() bool, await func()) {
		g, drv, dev := newPair(t, 8, features)
		b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
		c := dev.NewChain()
		add = func() bool {
			drv.Add(b)
			return drv.Kick()
		}
		await = func() {
			for {
				ok, err := dev.Pop(c)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				dev.Push(c.Head, 0)
			}
			if err := dev.Publish(); err != nil {
				t.Fatal(err)
			}
			for more := true; more; _, more = drv.TryUsed() {
			}
			drv.ForceKick()
			if err := dev.Await(); err != nil {
				t.Fatal(err)
			}
		}
		return add, await
	}
	add, await := steps(0)
	if !add() {
		t.Error("flags: a device that has not begun is not kicked")
	}
	await()
	for range 2 {
		if add() {
			t.Error("flags: a device at work is kicked")
		}
	}

	// With EVENT_IDX a device asks for one kick: for the chain after those it saw.
	add, await = steps(virtio.FeatureEventIdx)
	for range 3 {
		if !add() {
			t.Error("event index: a device that asked is not kicked")
		}
		for range 2 {
			if add() {
				t.Error("event index: a device that was kicked is kicked again")
			}
		}
		await()
	}
}

// A chain that comes between the device's last look and its wish to be told is
// not kicked, so the device must look once more.
func TestChainAddedBeforeAwait(t *testing.T) {
	for _, features := range []uint64{0, virtio.FeatureEventIdx} {
		g, drv, dev := newPair(t, 8, features)
		b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
		c := dev.NewChain()
		drv.Add(b)
		drv.Kick()
		if err := dev.Await(); err != nil { // the device is at work
			t.Fatal(err)
		}
		if ok, err := dev.Pop(c); !ok || err != nil {
			t.Fatal(ok, err)
		}
		drained(t, drv)
		if ok, err := dev.Pop(c); ok || err != nil {
			t.Fatal(ok, err)
		}
		drv.Add(b)
		if drv.Kick() {
			t.Fatalf("features %#x: kicked at work", features)
		}
		hang := time.AfterFunc(30*time.Second, dev.Stop)
		if err := dev.Await(); err != nil {
			t.Errorf("features %#x: the device sleeps over a chain: %v", features, err)
		}
		hang.Stop()
		mustPop(t, dev, c)
	}
}

// drained empties the kick eventfd, whether the device took the kick or not.
func drained(t *testing.T, drv *vqtest.Queue) {
	t.Helper()
	if _, err := eventfd.Drain(drv.Setup.KickFD); err != nil {
		t.Fatal(err)
	}
}

func TestCallSuppression(t *testing.T) {
	for _, features := range []uint64{0, virtio.FeatureEventIdx} {
		g, drv, dev := newPair(t, 8, features)
		b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
		c := dev.NewChain()
		round := func() uint64 {
			t.Helper()
			drv.Add(b)
			mustPop(t, dev, c)
			dev.Push(c.Head, 0)
			if err := dev.Publish(); err != nil {
				t.Fatal(err)
			}
			return drv.Calls()
		}
		if round() != 1 {
			t.Errorf("features %#x: the first buffer does not interrupt", features)
		}
		drv.TryUsed()
		drv.SuppressCalls()
		for range 3 {
			if round() != 0 {
				t.Errorf("features %#x: interrupted a driver that does not want it", features)
			}
			drv.TryUsed()
		}
		// Nothing pushed, nothing told.
		if err := dev.Publish(); err != nil || drv.Calls() != 0 {
			t.Errorf("features %#x: interrupt for nothing (%v)", features, err)
		}
	}
}

// A queue that goes on from a saved position tells the driver once, hears of what
// was added while nobody looked, and arms the kick anew.
func TestGoingOn(t *testing.T) {
	for _, features := range []uint64{0, virtio.FeatureEventIdx} {
		g, drv, dev := newPair(t, 4, features)
		b := vqtest.Buffer{Addr: g.Alloc(4), Len: 4}
		c := dev.NewChain()
		for range 70000 { // past the wrap of the indices
			drv.Add(b)
			mustPop(t, dev, c)
			dev.Push(c.Head, 0)
			if err := dev.Publish(); err != nil {
				t.Fatal(err)
			}
			drv.TryUsed()
		}
		drv.Add(b)
		mustPop(t, dev, c)
		dev.Push(c.Head, 0)
		if err := dev.Publish(); err != nil {
			t.Fatal(err)
		}
		dev.Stop()
		drv.Calls() // the interrupt is lost
		drv.Add(b)  // and so is the kick

		drv.Setup.NextAvail, drv.Setup.NextUsed = dev.Position()
		next := open(t, g, drv, features)
		if n := drv.Calls(); n != 1 {
			t.Errorf("features %#x: %d interrupts at the start", features, n)
		}
		done := make(chan error)
		go serve(next, done)
		drv.WaitUsed()
		drv.WaitUsed()
		for range 10 {
			drv.Do(b)
		}
		next.Stop()
		<-done
	}
}
