package virtiopci

import (
	"fmt"

	"gozen/pvdrivers/virtio"
)

func (t *Transport) readStatus() uint8 {
	if t.attempt.failed.Load() {
		return t.status | statusNeedsReset
	}
	return t.status
}

// writeStatus is the state machine of the package comment.
func (t *Transport) writeStatus(v uint8) {
	if v == 0 {
		t.reset()
		return
	}
	if t.status&^v != 0 {
		return // only a reset takes bits away
	}
	if v&statusFailed != 0 {
		// The driver gives up. It may say so at any step, and only a reset helps.
		t.status |= statusFailed
		return
	}
	if v&statusAcknowledge == 0 {
		return
	}
	t.status |= statusAcknowledge
	if v&statusDriver == 0 {
		return
	}
	t.status |= statusDriver
	if v&statusFeaturesOK == 0 || !t.featuresAgreed() {
		return
	}
	t.status |= statusFeaturesOK
	if v&statusDriverOK == 0 || t.status&statusDriverOK != 0 {
		return
	}
	t.status |= statusDriverOK
	if t.attempt.failed.Load() {
		return // needs a reset first
	}
	if err := t.activate(); err != nil {
		t.attempt.fail(err)
	}
}

// featuresAgreed says whether the driver accepted a set that works.
func (t *Transport) featuresAgreed() bool {
	return t.driverFeatures&^t.offered == 0 && t.driverFeatures&virtio.FeatureVersion1 != 0
}

// reset is a write of zero to the status register.
func (t *Transport) reset() {
	t.stop()
	t.clear()
	t.routeAll()
	for _, q := range t.queues {
		drain(q.kick)
		drain(q.vector.FD())
	}
	drain(t.config.vector.FD())
}

// stop ends the device's data flow.
func (t *Transport) stop() {
	if t.active {
		t.cfg.Device.Reset()
		t.active = false
	}
}

// activate starts the device with what the driver agreed to.
func (t *Transport) activate() error {
	a := &virtio.Activation{
		Memory:        t.cfg.Memory,
		Features:      t.driverFeatures,
		Queues:        make([]virtio.Queue, len(t.queues)),
		Fail:          t.attempt.fail,
		ConfigChanged: t.configChanged,
	}
	for i, q := range t.queues {
		aq := &a.Queues[i]
		aq.KickFD, aq.CallFD = q.kick, q.vector.FD()
		if q.enabled {
			aq.Size, aq.Desc, aq.Driver, aq.Device = q.size, q.desc, q.driver, q.device
			aq.NextAvail, aq.NextUsed = q.nextAvail, q.nextUsed
		}
	}
	// Even a failed Activate may have started something that Reset must end.
	t.active = true
	return t.cfg.Device.Activate(a)
}

// Sizes of a split virtqueue's parts for n entries (virtio 1.2, 2.7).
func descSize(n uint16) uint64   { return 16 * uint64(n) }
func driverSize(n uint16) uint64 { return 6 + 2*uint64(n) } // available ring with used_event
func deviceSizeOf(n uint16) uint64 {
	return 6 + 8*uint64(n) // used ring with avail_event
}

// enable checks the queue and enables it. The rings must be whole: a queue that
// is wrong now cannot be put right later, because its registers are settled.
func (t *Transport) enable(q *queue) {
	if err := t.checkQueue(q); err != nil {
		t.attempt.fail(fmt.Errorf("queue %d: %w", t.queueSelect, err))
		return
	}
	q.enabled = true
}

func (t *Transport) checkQueue(q *queue) error {
	if q.size == 0 || q.size&(q.size-1) != 0 || q.size > q.max {
		return fmt.Errorf("size %d is not a power of two up to %d", q.size, q.max)
	}
	for _, ring := range []struct {
		name       string
		addr, size uint64
		align      uint64
	}{
		{"descriptor table", q.desc, descSize(q.size), 16},
		{"available ring", q.driver, driverSize(q.size), 2},
		{"used ring", q.device, deviceSizeOf(q.size), 4},
	} {
		if ring.addr%ring.align != 0 {
			return fmt.Errorf("%s at %#x: not aligned to %d bytes", ring.name, ring.addr, ring.align)
		}
		if _, err := t.cfg.Memory.Slice(ring.addr, ring.size); err != nil {
			return fmt.Errorf("%s: %w", ring.name, err)
		}
	}
	return nil
}
