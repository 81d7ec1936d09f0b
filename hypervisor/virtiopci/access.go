package virtiopci

import (
	"encoding/binary"
)

// Read implements bus.Handler over the BAR. off+len(p) is inside it.
func (t *Transport) Read(off uint64, p []byte) {
	clear(p)
	page, in := off&^(pageSize-1), uint32(off&(pageSize-1))
	if uint64(in)+uint64(len(p)) > pageSize {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch page {
	case commonOff:
		t.readCommon(in, p)
	case isrOff:
		if in == 0 {
			p[0] = t.takeISR()
		}
	case deviceOff:
		t.cfg.Device.ReadConfig(in, p)
	case tableOff:
		t.msix.read(in, p)
	case pbaOff:
		t.readPBA(in, p)
	}
}

// Write implements bus.Handler over the BAR.
func (t *Transport) Write(off uint64, p []byte) {
	page, in := off&^(pageSize-1), uint32(off&(pageSize-1))
	if uint64(in)+uint64(len(p)) > pageSize {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch page {
	case commonOff:
		t.writeCommon(in, p)
	case deviceOff:
		t.cfg.Device.WriteConfig(in, p)
	case notifyOff:
		// The doorbell takes kicks before they get here. One through the window in
		// configuration space, or one without a doorbell, arrives.
		if i := in / notifyMultiplier; int(i) < len(t.queues) {
			signal(t.queues[i].kick)
		}
	case tableOff:
		if entry, ok := t.msix.write(in, p); ok {
			t.routeEntry(entry)
		}
	}
}

// readCommon serves the common configuration at any width: its registers have
// no side effect when read.
func (t *Transport) readCommon(off uint32, p []byte) {
	var c [commonSize]byte
	le := binary.LittleEndian
	le.PutUint32(c[regDeviceFeatureSelect:], t.deviceSelect)
	le.PutUint32(c[regDeviceFeature:], half(t.offered, t.deviceSelect))
	le.PutUint32(c[regDriverFeatureSelect:], t.driverSelect)
	le.PutUint32(c[regDriverFeature:], half(t.driverFeatures, t.driverSelect))
	le.PutUint16(c[regConfigVector:], t.config.entry)
	le.PutUint16(c[regNumQueues:], uint16(len(t.queues)))
	c[regStatus] = t.readStatus()
	c[regGeneration] = uint8(t.generation.Load())
	le.PutUint16(c[regQueueSelect:], t.queueSelect)
	// Everything about a queue that is not there reads as zero, its size above all.
	if q := t.selected(); q != nil {
		le.PutUint16(c[regQueueSize:], q.size)
		le.PutUint16(c[regQueueVector:], q.entry)
		if q.enabled {
			le.PutUint16(c[regQueueEnable:], 1)
		}
		le.PutUint16(c[regQueueNotifyOff:], t.queueSelect)
		le.PutUint64(c[regQueueDesc:], q.desc)
		le.PutUint64(c[regQueueDriver:], q.driver)
		le.PutUint64(c[regQueueDevice:], q.device)
	}
	if off < commonSize {
		copy(p, c[off:])
	}
}

// writeCommon takes a write of a whole register, or of half or all of a 64-bit
// one. The driver must not write anything else (virtio 1.2, 4.1.3.1), and
// anything else is ignored.
func (t *Transport) writeCommon(off uint32, p []byte) {
	le := binary.LittleEndian
	switch len(p) {
	case 1:
		if off == regStatus {
			t.writeStatus(p[0])
		}
	case 2:
		t.writeCommon16(off, le.Uint16(p))
	case 4:
		t.writeCommon32(off, le.Uint32(p))
	case 8:
		switch off {
		case regQueueDesc, regQueueDriver, regQueueDevice:
			t.writeCommon32(off, le.Uint32(p))
			t.writeCommon32(off+4, le.Uint32(p[4:]))
		}
	}
}

func (t *Transport) writeCommon16(off uint32, v uint16) {
	switch off {
	case regConfigVector:
		t.choose(&t.config, v)
		return
	case regQueueSelect:
		t.queueSelect = v
		return
	}
	q := t.selected()
	if q == nil {
		return
	}
	switch off {
	case regQueueVector:
		t.choose(&q.source, v)
	case regQueueSize:
		// Validated at enabling, when the driver's mistake is certain.
		if t.configurable(q) {
			q.size = v
		}
	case regQueueEnable:
		if v == 1 && t.configurable(q) {
			t.enable(q)
		}
	}
}

func (t *Transport) writeCommon32(off uint32, v uint32) {
	switch off {
	case regDeviceFeatureSelect:
		t.deviceSelect = v
		return
	case regDriverFeatureSelect:
		t.driverSelect = v
		return
	case regDriverFeature:
		// Settled once FEATURES_OK is set. Windows past the second hold no features.
		if t.status&statusFeaturesOK == 0 && t.driverSelect < 2 {
			setHalf(&t.driverFeatures, t.driverSelect, v)
		}
		return
	}
	q := t.selected()
	if q == nil || !t.configurable(q) {
		return
	}
	switch off {
	case regQueueDesc, regQueueDesc + 4:
		setHalf(&q.desc, (off-regQueueDesc)/4, v)
	case regQueueDriver, regQueueDriver + 4:
		setHalf(&q.driver, (off-regQueueDriver)/4, v)
	case regQueueDevice, regQueueDevice + 4:
		setHalf(&q.device, (off-regQueueDevice)/4, v)
	}
}

// selected is the queue that the queue registers show, or nil.
func (t *Transport) selected() *queue {
	if int(t.queueSelect) >= len(t.queues) {
		return nil
	}
	return t.queues[t.queueSelect]
}

// configurable says whether the driver may still set the queue up.
func (t *Transport) configurable(q *queue) bool {
	return !q.enabled && t.status&statusDriverOK == 0
}

// half returns the low (0) or high (1) 32 bits of v, 0 for any other.
func half(v uint64, which uint32) uint32 {
	if which > 1 {
		return 0
	}
	return uint32(v >> (32 * which))
}

// setHalf replaces the low (0) or high (1) 32 bits of v.
func setHalf(v *uint64, which, h uint32) {
	shift := 32 * which
	*v = *v&^(0xffff_ffff<<shift) | uint64(h)<<shift
}
