package virtiopci

import (
	"errors"
	"fmt"

	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

var errNotPaused = errors.New("transport is not paused")

// Pause stops the device's data flow and leaves everything that the guest sees
// as it is. The guest must not run. A transport that is paused stays so.
func (t *Transport) Pause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	active := t.active
	t.stop()
	t.paused = true
	if !active {
		return nil
	}
	for i, q := range t.queues {
		if !q.enabled {
			continue
		}
		if err := t.position(i, q); err != nil {
			return t.wrap(fmt.Errorf("queue %d: %w", i, err))
		}
	}
	return nil
}

// position notes where the stopped device goes on in a queue.
func (t *Transport) position(i int, q *queue) error {
	if p, ok := t.cfg.Device.(virtio.Positioner); ok {
		q.nextAvail, q.nextUsed = p.Position(i)
		return nil
	}
	// A device that cannot say has used all that it took, so one index says both.
	used, err := t.cfg.Memory.Slice(q.device+2, 2)
	if err != nil {
		return fmt.Errorf("used index: %w", err)
	}
	q.nextUsed = guestmem.Load16(used)
	q.nextAvail = q.nextUsed
	return nil
}

// Resume undoes Pause, or starts the device after Restore. Each active queue gets
// one kick and one interrupt, and the configuration one interrupt, because those
// that were on their way may be lost; a driver and a device bear one too many.
func (t *Transport) Resume() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused {
		return t.wrap(errNotPaused)
	}
	t.paused = false
	if t.status&statusDriverOK == 0 || t.attempt.failed.Load() {
		return nil
	}
	if err := t.activate(); err != nil {
		t.attempt.fail(err)
		return t.wrap(err)
	}
	for _, q := range t.queues {
		if q.enabled {
			signal(q.kick)
			signal(q.vector.FD())
		}
	}
	signal(t.config.vector.FD())
	return nil
}
