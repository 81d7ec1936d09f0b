package vmmapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Layout of a ring file. All numbers are little-endian.
//
//	0   magic, 8 bytes
//	8   version, 4 bytes
//	12  zero, 4 bytes
//	16  capacity of the data area in bytes, 8 bytes
//	24  zero up to 64
//	64  begin: total bytes whose writing has begun, 8 bytes
//	72  end: total bytes completely written, 8 bytes
//	80  complement of begin, 8 bytes
//	88  complement of end, 8 bytes
//	4096 data: the byte with number n is at 4096 + n mod capacity
//
// The writer raises begin, writes the data, then raises end. A reader takes end,
// reads data, then looks at begin again: every byte from begin-capacity up to
// the end it took was untouched meanwhile. The complements show a reader that
// it caught the counters half written.
const (
	ringMagic       = "GZCONRNG"
	ringVersion     = 1
	ringHeaderBytes = 24
	ringCounterAt   = 64
	ringCounterLen  = 32
	ringDataAt      = 4096

	// DefaultRingBytes is the usual capacity of a console ring.
	DefaultRingBytes = 256 << 10
	// MaxRingBytes bounds the capacity that OpenRing believes.
	MaxRingBytes = 64 << 20

	// A reader that finds torn counters this often gives up: no writer that lives
	// tears them so often.
	ringReadTries = 1000
)

// ErrRing is returned for a file that is not a sound ring.
var ErrRing = errors.New("not a console ring")

// RingFile is what a Ring needs of its file; *os.File has it. Reads and writes
// go through the page cache of one host, so that both processes see the same.
type RingFile interface {
	io.ReaderAt
	io.WriterAt
}

// Ring is a bounded log in a file: it keeps the last bytes that were written and
// the number of all bytes ever written. One process writes and any number of
// processes read, without locks between them.
type Ring struct {
	f        RingFile
	capacity uint64

	mu  sync.Mutex // one Write at a time
	end uint64     // of this writer; read from the file at OpenRing
}

// CreateRing makes f, an empty file, a ring that retains capacity bytes.
func CreateRing(f RingFile, capacity int) (*Ring, error) {
	if capacity < 1 || capacity > MaxRingBytes {
		return nil, fmt.Errorf("ring capacity %d: not between 1 and %d bytes", capacity, MaxRingBytes)
	}
	var h [ringDataAt]byte
	copy(h[:], ringMagic)
	binary.LittleEndian.PutUint32(h[8:], ringVersion)
	binary.LittleEndian.PutUint64(h[16:], uint64(capacity))
	putCounters(h[ringCounterAt:], 0, 0)
	if _, err := f.WriteAt(h[:], 0); err != nil {
		return nil, fmt.Errorf("write ring header: %w", err)
	}
	return &Ring{f: f, capacity: uint64(capacity)}, nil
}

// OpenRing opens a ring for reading, or for writing on after its last byte.
// The file may come from an untrusted process: nothing in it is believed beyond
// its bounds.
func OpenRing(f RingFile) (*Ring, error) {
	var h [ringHeaderBytes]byte
	if _, err := f.ReadAt(h[:], 0); err != nil {
		return nil, fmt.Errorf("read ring header: %w", err)
	}
	if string(h[:8]) != ringMagic {
		return nil, fmt.Errorf("%w: wrong magic %q", ErrRing, h[:8])
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != ringVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrRing, v, ringVersion)
	}
	r := &Ring{f: f, capacity: binary.LittleEndian.Uint64(h[16:])}
	if r.capacity < 1 || r.capacity > MaxRingBytes {
		return nil, fmt.Errorf("%w: capacity %d", ErrRing, r.capacity)
	}
	_, end, err := r.counters()
	if err != nil {
		return nil, err
	}
	r.end = end
	return r, nil
}

// Capacity returns how many bytes the ring retains.
func (r *Ring) Capacity() int { return int(r.capacity) }

// Write appends p. Of more than the capacity only the last bytes are kept, yet
// all are counted.
func (r *Ring) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	begin := r.end + uint64(len(p))
	if err := r.publish(begin, r.end); err != nil {
		return 0, err
	}
	keep, at := p, r.end
	if uint64(len(keep)) > r.capacity {
		cut := uint64(len(keep)) - r.capacity
		keep, at = keep[cut:], at+cut
	}
	for len(keep) > 0 {
		off := at % r.capacity
		n := min(uint64(len(keep)), r.capacity-off)
		if _, err := r.f.WriteAt(keep[:n], ringDataAt+int64(off)); err != nil {
			return 0, fmt.Errorf("write console ring: %w", err)
		}
		keep, at = keep[n:], at+n
	}
	if err := r.publish(begin, begin); err != nil {
		return 0, err
	}
	r.end = begin
	return len(p), nil
}

// Total returns the number of bytes ever written.
func (r *Ring) Total() (uint64, error) {
	_, end, err := r.counters()
	return end, err
}

// Read returns the retained bytes from the byte number from on, at most limit of
// them (no bound if limit is 0), and the number of the first byte returned. That
// number is higher than from when older bytes are gone, and lower never; from
// past the end returns nothing at the end. A follower goes on at offset plus
// len(data).
func (r *Ring) Read(from uint64, limit int) (data []byte, offset uint64, err error) {
	begin, end, err := r.counters()
	if err != nil {
		return nil, 0, err
	}
	offset = min(max(from, oldest(begin, r.capacity)), end)
	n := end - offset
	if limit > 0 {
		n = min(n, uint64(limit))
	}
	data = make([]byte, n)
	for done := uint64(0); done < n; {
		off := (offset + done) % r.capacity
		part := data[done:min(n, done+r.capacity-off)]
		m, err := r.f.ReadAt(part, ringDataAt+int64(off))
		if m < len(part) {
			// A hole at the end of the file: never written, although counted.
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: file is shorter than its counters say", ErrRing)
			}
			return nil, 0, err
		}
		done += uint64(m)
	}
	// What the writer has begun to overwrite since then is not ours.
	if begin, _, err = r.counters(); err != nil {
		return nil, 0, err
	}
	if low := oldest(begin, r.capacity); low > offset {
		lost := min(low-offset, n)
		data, offset = data[lost:], offset+lost
	}
	return data, offset, nil
}

func oldest(begin, capacity uint64) uint64 {
	if begin < capacity {
		return 0
	}
	return begin - capacity
}

func (r *Ring) publish(begin, end uint64) error {
	var b [ringCounterLen]byte
	putCounters(b[:], begin, end)
	if _, err := r.f.WriteAt(b[:], ringCounterAt); err != nil {
		return fmt.Errorf("write console ring counters: %w", err)
	}
	return nil
}

func (r *Ring) counters() (begin, end uint64, err error) {
	var b [ringCounterLen]byte
	for range ringReadTries {
		if _, err := r.f.ReadAt(b[:], ringCounterAt); err != nil {
			return 0, 0, fmt.Errorf("read console ring counters: %w", err)
		}
		begin, end = binary.LittleEndian.Uint64(b[0:]), binary.LittleEndian.Uint64(b[8:])
		if binary.LittleEndian.Uint64(b[16:]) != ^begin || binary.LittleEndian.Uint64(b[24:]) != ^end {
			continue
		}
		if end > begin || begin-end > 1<<62 {
			return 0, 0, fmt.Errorf("%w: counters %d and %d", ErrRing, begin, end)
		}
		return begin, end, nil
	}
	return 0, 0, fmt.Errorf("%w: damaged counters", ErrRing)
}

func putCounters(b []byte, begin, end uint64) {
	binary.LittleEndian.PutUint64(b[0:], begin)
	binary.LittleEndian.PutUint64(b[8:], end)
	binary.LittleEndian.PutUint64(b[16:], ^begin)
	binary.LittleEndian.PutUint64(b[24:], ^end)
}
