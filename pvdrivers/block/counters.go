package block

import (
	"sync/atomic"

	"gozen/pvdrivers/virtqueue"
)

// counters count since the device was made.
type counters struct {
	reads, writes, flushes, discards, writeZeroes, getIDs atomic.Uint64

	readBytes, writtenBytes atomic.Uint64

	errors      atomic.Uint64 // requests answered VIRTIO_BLK_S_IOERR
	unsupported atomic.Uint64 // requests answered VIRTIO_BLK_S_UNSUPP
	syscalls    atomic.Uint64 // on the disk's descriptor

	// Of the queues of past activations.
	pastKicks, pastCalls uint64
}

// retire adds the counts of a session that ended.
func (c *counters) retire(s *session) {
	kicks, calls := virtqueue.Notifications(s.queues()...)
	c.pastKicks += kicks
	c.pastCalls += calls
}

func (c *counters) snapshot(s *session) map[string]uint64 {
	kicks, calls := c.pastKicks, c.pastCalls
	if s != nil {
		k, c := virtqueue.Notifications(s.queues()...)
		kicks += k
		calls += c
	}
	return map[string]uint64{
		"reads":         c.reads.Load(),
		"writes":        c.writes.Load(),
		"flushes":       c.flushes.Load(),
		"discards":      c.discards.Load(),
		"write_zeroes":  c.writeZeroes.Load(),
		"get_ids":       c.getIDs.Load(),
		"read_bytes":    c.readBytes.Load(),
		"written_bytes": c.writtenBytes.Load(),
		"errors":        c.errors.Load(),
		"unsupported":   c.unsupported.Load(),
		"syscalls":      c.syscalls.Load(),
		"kicks":         kicks,
		"interrupts":    calls,
	}
}
