package block

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/virtqueue"
)

var errMalformed = errors.New("block request without room for a header and a status byte")

// request is one request under way. It is used for many, one after the other.
type request struct {
	s     *session
	ring  *ring
	chain *virtqueue.Chain
	iovs  []unix.Iovec
	// Scratch space, here so that it is no allocation of each request.
	header [headerBytes]byte
	ranges [maxRanges * segmentBytes]byte
}

func newRequest(s *session, r *ring) *request {
	return &request{s: s, ring: r, chain: r.q.NewChain(), iovs: make([]unix.Iovec, 0, queueSize)}
}

// serve does what the chain asks for and gives it back. It returns an error only
// for a chain that cannot be answered.
func (r *request) serve() error {
	c := r.chain
	writable := virtqueue.Len(c.Writable)
	if virtqueue.CopyOut(r.header[:], c.Readable) < headerBytes || writable == 0 {
		return fmt.Errorf("queue %d: %w", r.ring.number, errMalformed)
	}
	typ := binary.LittleEndian.Uint32(r.header[0:])
	sector := binary.LittleEndian.Uint64(r.header[8:])
	out := virtqueue.Skip(c.Readable, headerBytes)
	// The status byte is the last writable byte, wherever the data before it ends.
	last := c.Writable[len(c.Writable)-1]
	statusAt := last[len(last)-1:]
	in := virtqueue.Truncate(c.Writable, writable-1)

	status, filled := r.execute(typ, sector, out, in)
	switch status {
	case statusIOErr:
		r.s.dev.counters.errors.Add(1)
	case statusUnsupported:
		r.s.dev.counters.unsupported.Add(1)
	}
	// The used length counts from the first writable byte and must not name more
	// than was written, so what lies before the status byte is filled.
	for _, seg := range virtqueue.Skip(in, filled) {
		clear(seg)
	}
	statusAt[0] = status
	return r.ring.complete(c.Head, uint32(writable))
}

// execute runs one request and returns its status and how many bytes of in it
// filled.
func (r *request) execute(typ uint32, sector uint64, out, in [][]byte) (status byte, filled int) {
	d := r.s.dev
	count := &d.counters
	switch typ {
	case typeIn:
		count.reads.Add(1)
		n := virtqueue.Len(in)
		if !d.disk.inRange(sector, uint64(n)) {
			return statusIOErr, 0
		}
		r.iovs = appendIovecs(r.iovs[:0], in)
		if err := d.disk.read(r.iovs, sector); err != nil {
			return statusIOErr, 0
		}
		count.readBytes.Add(uint64(n))
		return statusOK, n
	case typeOut:
		count.writes.Add(1)
		n := virtqueue.Len(out)
		if d.readOnly || !d.disk.inRange(sector, uint64(n)) {
			return statusIOErr, 0
		}
		r.iovs = appendIovecs(r.iovs[:0], out)
		if err := d.disk.write(r.iovs, sector, r.s.through); err != nil {
			return statusIOErr, 0
		}
		count.writtenBytes.Add(uint64(n))
		return statusOK, 0
	case typeFlush:
		count.flushes.Add(1)
		return statusOf(d.disk.flush()), 0
	case typeGetID:
		count.getIDs.Add(1)
		return statusOK, virtqueue.CopyIn(in, d.serial[:])
	case typeDiscard:
		count.discards.Add(1)
		return r.eachRange(out, false), 0
	case typeWriteZeroes:
		count.writeZeroes.Add(1)
		return r.eachRange(out, true), 0
	}
	return statusUnsupported, 0
}

// eachRange discards or zeroes the ranges in out. All are checked before the
// first is touched (virtio 1.2, section 5.2.6.2).
func (r *request) eachRange(out [][]byte, zero bool) byte {
	d := r.s.dev
	if d.readOnly {
		return statusUnsupported // neither feature is offered
	}
	n := virtqueue.Len(out)
	if n == 0 || n%segmentBytes != 0 || n > len(r.ranges) {
		return statusIOErr
	}
	ranges := r.ranges[:n]
	virtqueue.CopyOut(ranges, out)
	for p := ranges; len(p) > 0; p = p[segmentBytes:] {
		sector, sectors, flags := decodeRange(p)
		if flags&^flagUnmap != 0 || !zero && flags != 0 {
			return statusUnsupported
		}
		if sectors > maxRangeSectors || !d.disk.inRange(sector, uint64(sectors)*sectorBytes) {
			return statusIOErr
		}
	}
	for p := ranges; len(p) > 0; p = p[segmentBytes:] {
		sector, sectors, flags := decodeRange(p)
		var err error
		switch {
		case sectors == 0:
		case zero:
			err = d.disk.zero(sector, sectors, flags&flagUnmap != 0)
		default:
			err = d.disk.discard(sector, sectors)
		}
		if err != nil {
			return statusOf(err)
		}
	}
	return statusOK
}

func decodeRange(p []byte) (sector uint64, sectors, flags uint32) {
	return binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint32(p[8:]), binary.LittleEndian.Uint32(p[12:])
}

func statusOf(err error) byte {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, unix.EOPNOTSUPP):
		return statusUnsupported
	}
	return statusIOErr
}
