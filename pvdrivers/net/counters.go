package net

import "sync/atomic"

// counters count since the device was made. Those of frames stay 0 while vhost
// moves them: the tap's own statistics on the host have them.
type counters struct {
	rxFrames, rxBytes atomic.Uint64 // to the guest, without the virtio-net header
	txFrames, txBytes atomic.Uint64 // from the guest
	rxStalls          atomic.Uint64 // times a frame waited for the guest's buffers
	rxDroppedSize     atomic.Uint64 // frames too long for the guest
	rxDroppedHeader   atomic.Uint64 // frames of a kind that the guest did not agree to
	rxDroppedReset    atomic.Uint64 // frames held while the guest reset its device
	txDroppedSize     atomic.Uint64 // frames of a size that is not allowed
	txDroppedHeader   atomic.Uint64 // frames with a header that is not allowed
	txDroppedHost     atomic.Uint64 // frames that the host's kernel refused
	stopErrors        atomic.Uint64 // errors of vhost on the way to a reset

	kicks, calls uint64 // of past activations; guarded by Device.mu
}

// Counters implements virtio.Device.
func (d *Device) Counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	kicks, calls := d.counters.kicks, d.counters.calls
	if d.active != nil {
		k, c := d.active.notifications()
		kicks, calls = kicks+k, calls+c
	}
	c := &d.counters
	var viaVhost uint64
	if d.vhost != nil {
		viaVhost = 1
	}
	return map[string]uint64{
		"rx_frames":         c.rxFrames.Load(),
		"rx_bytes":          c.rxBytes.Load(),
		"tx_frames":         c.txFrames.Load(),
		"tx_bytes":          c.txBytes.Load(),
		"rx_stalls":         c.rxStalls.Load(),
		"rx_dropped_size":   c.rxDroppedSize.Load(),
		"rx_dropped_header": c.rxDroppedHeader.Load(),
		"rx_dropped_reset":  c.rxDroppedReset.Load(),
		"tx_dropped_size":   c.txDroppedSize.Load(),
		"tx_dropped_header": c.txDroppedHeader.Load(),
		"tx_dropped_host":   c.txDroppedHost.Load(),
		"stop_errors":       c.stopErrors.Load(),
		"kicks":             kicks,
		"interrupts":        calls,
		"vhost":             viaVhost,
	}
}
