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
	tag   uint64 // of its operations in an engine

	// What the chain says, after parse.
	typ     uint32
	sector  uint64
	out, in [][]byte // its data
	written uint32   // bytes that can be written, with the status
	answer  []byte   // the status byte

	// What is left of a read, write or flush, after admit.
	iovs []unix.Iovec // the backing array of left
	left []unix.Iovec
	off  int64 // in bytes

	// How it ended: the status and how many bytes of in were filled.
	status byte
	filled int

	// Scratch space, here so that it is no allocation of each request.
	header [headerBytes]byte
	ranges [maxRanges * segmentBytes]byte
}

func newRequest(s *session, r *ring) *request {
	return &request{s: s, ring: r, chain: r.q.NewChain()}
}

// serve does what the chain asks for and gives it back. It returns an error only
// for a chain that cannot be answered.
func (r *request) serve() error {
	if err := r.parse(); err != nil {
		return err
	}
	if r.admit() {
		r.perform()
	}
	r.reply()
	return r.ring.complete(r)
}

// parse reads the header. It returns an error for a chain that cannot be
// answered.
func (r *request) parse() error {
	c := r.chain
	writable := virtqueue.Len(c.Writable)
	if virtqueue.CopyOut(r.header[:], c.Readable) < headerBytes || writable == 0 {
		return fmt.Errorf("queue %d: %w", r.ring.number, errMalformed)
	}
	r.typ = binary.LittleEndian.Uint32(r.header[0:])
	r.sector = binary.LittleEndian.Uint64(r.header[8:])
	r.out = virtqueue.Skip(c.Readable, headerBytes)
	// The status byte is the last writable byte, wherever the data before it ends.
	last := c.Writable[len(c.Writable)-1]
	r.answer = last[len(last)-1:]
	r.in = virtqueue.Truncate(c.Writable, writable-1)
	r.written = uint32(writable)
	return nil
}

// reply writes the status where the driver looks for it.
func (r *request) reply() {
	count := &r.s.dev.counters
	switch r.status {
	case statusIOErr:
		count.errors.Add(1)
	case statusUnsupported:
		count.unsupported.Add(1)
	}
	// The used length counts from the first writable byte and must not name more
	// than was written, so what lies before the status byte is filled.
	for _, seg := range virtqueue.Skip(r.in, r.filled) {
		clear(seg)
	}
	r.answer[0] = r.status
}

// end sets how the request ended.
func (r *request) end(status byte, filled int) { r.status, r.filled = status, filled }

// admit begins the request: it returns false if that already was its end.
func (r *request) admit() bool {
	d := r.s.dev
	count := &d.counters
	data := r.in
	switch r.typ {
	case typeIn:
		count.reads.Add(1)
	case typeOut:
		count.writes.Add(1)
		data = r.out
		if d.readOnly {
			r.end(statusIOErr, 0)
			return false
		}
	case typeFlush:
		count.flushes.Add(1)
		return true
	case typeGetID:
		count.getIDs.Add(1)
		r.end(statusOK, virtqueue.CopyIn(r.in, d.serial[:]))
		return false
	case typeDiscard:
		count.discards.Add(1)
		return true
	case typeWriteZeroes:
		count.writeZeroes.Add(1)
		return true
	default:
		r.end(statusUnsupported, 0)
		return false
	}
	if !d.disk.inRange(r.sector, uint64(virtqueue.Len(data))) {
		r.end(statusIOErr, 0)
		return false
	}
	r.iovs = appendIovecs(r.iovs[:0], data)
	r.left, r.off = r.iovs, int64(r.sector*sectorBytes)
	if len(r.left) == 0 {
		r.end(statusOK, 0)
		return false
	}
	return true
}

// perform does what is left of an admitted request and returns when it is done.
func (r *request) perform() {
	disk := r.s.dev.disk
	switch r.typ {
	case typeIn:
		r.transferred(disk.read(r.left, r.off))
	case typeOut:
		r.transferred(disk.write(r.left, r.off, r.s.through))
	case typeFlush:
		r.end(statusOf(disk.flush()), 0)
	default:
		r.end(r.eachRange(r.out, r.typ == typeWriteZeroes), 0)
	}
}

// transferred ends a read or write.
func (r *request) transferred(err error) {
	count := &r.s.dev.counters
	switch {
	case err != nil:
		r.end(statusIOErr, 0)
	case r.typ == typeIn:
		n := virtqueue.Len(r.in)
		count.readBytes.Add(uint64(n))
		r.end(statusOK, n)
	default:
		count.writtenBytes.Add(uint64(virtqueue.Len(r.out)))
		r.end(statusOK, 0)
	}
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
