package virtqueue

import (
	"math"

	"gozen/pvdrivers/guestmem"
)

// Flags of a descriptor (virtio 1.2, section 2.7.5).
const (
	descNext     = 1 // VIRTQ_DESC_F_NEXT
	descWrite    = 2 // VIRTQ_DESC_F_WRITE
	descIndirect = 4 // VIRTQ_DESC_F_INDIRECT
)

// descriptor is the host's copy of one descriptor.
type descriptor struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

func loadDescriptor(b []byte) descriptor {
	lo, hi := guestmem.Load128(b)
	return descriptor{addr: lo, len: uint32(hi), flags: uint16(hi >> 32), next: uint16(hi >> 48)}
}

// Chain is a descriptor chain taken from a queue: the buffers of one request.
// A Chain is made once and used for many requests, one after the other.
//
// The segments lie in guest memory and change whenever the guest likes. They are
// valid until the chain is pushed back or taken over by another Pop.
type Chain struct {
	Head     uint16   // to hand to Push
	Readable [][]byte // what the driver wrote, in order; none is empty
	Writable [][]byte // what the device may fill, in order; none is empty

	segs [][]byte
}

// NewChain returns a chain for the queue's longest requests.
func (q *Queue) NewChain() *Chain {
	return &Chain{segs: make([][]byte, 0, q.maxChain)}
}

// Pop takes the next chain and returns false if there is none. After an error,
// which is an *Error, the queue is not to be used any more.
func (q *Queue) Pop(c *Chain) (bool, error) {
	if q.nextAvail == q.availIdx {
		idx := guestmem.Load16(q.avail[ringIdx:])
		if idx-q.nextAvail > q.size {
			return false, q.fail(ErrAvailJump)
		}
		if idx == q.nextAvail {
			return false, nil
		}
		q.availIdx = idx
	}
	elem := ringElems + int(q.nextAvail&(q.size-1))*availElemBytes
	head := guestmem.Load16(q.avail[elem:])
	if head >= q.size {
		return false, q.fail(ErrHead)
	}
	c.Head = head
	if err := q.walk(c); err != nil {
		return false, q.fail(err)
	}
	q.nextAvail++
	return true, nil
}

// Unpop puts the last n taken chains back, so that Pop returns them again. They
// must not have been pushed.
func (q *Queue) Unpop(n int) {
	q.nextAvail -= uint16(n)
}

func (q *Queue) fail(err error) error {
	return &Error{Queue: q.number, Index: q.nextAvail, Err: err}
}

// walk fills c from the chain that begins at c.Head.
func (q *Queue) walk(c *Chain) error {
	segs := c.segs[:0]
	readable := 0
	total := uint64(0)
	table := q.desc
	inIndirect := false
	next := c.Head
	for {
		if int(next) >= len(table)/descBytes {
			return ErrNext
		}
		d := loadDescriptor(table[int(next)*descBytes:])
		if d.flags&descIndirect != 0 {
			var err error
			if table, err = q.indirectTable(d, inIndirect); err != nil {
				return err
			}
			inIndirect = true
			next = 0
			continue
		}
		if len(segs) == q.maxChain {
			return ErrTooLong
		}
		if d.len == 0 {
			return ErrZeroLength
		}
		if total += uint64(d.len); total > math.MaxUint32 {
			return ErrTooMany
		}
		seg, err := q.mem.Slice(d.addr, uint64(d.len))
		if err != nil {
			return err
		}
		if d.flags&descWrite == 0 {
			if readable != len(segs) {
				return ErrOrder
			}
			readable++
		}
		segs = append(segs, seg)
		if d.flags&descNext == 0 {
			break
		}
		next = d.next
	}
	c.Readable, c.Writable = segs[:readable:readable], segs[readable:]
	return nil
}

// indirectTable returns the table that d refers to (virtio 1.2, section
// 2.7.5.3). The write flag of d means nothing.
func (q *Queue) indirectTable(d descriptor, inIndirect bool) ([]byte, error) {
	switch {
	case !q.indirect:
		return nil, ErrIndirect
	case inIndirect:
		return nil, ErrNested
	case d.flags&descNext != 0:
		return nil, ErrIndirectNext
	case d.len == 0 || d.len%descBytes != 0:
		return nil, ErrIndirectTable
	}
	return q.mem.Slice(d.addr, uint64(d.len))
}

// Len is the number of bytes in segs.
func Len(segs [][]byte) int {
	n := 0
	for _, s := range segs {
		n += len(s)
	}
	return n
}

// CopyOut copies from segs to dst and returns the number of bytes copied: the
// smaller of both lengths.
func CopyOut(dst []byte, segs [][]byte) int {
	n := 0
	for _, s := range segs {
		if n == len(dst) {
			break
		}
		n += copy(dst[n:], s)
	}
	return n
}

// CopyIn copies src to segs and returns the number of bytes copied: the smaller
// of both lengths.
func CopyIn(segs [][]byte, src []byte) int {
	n := 0
	for _, s := range segs {
		if n == len(src) {
			break
		}
		n += copy(s, src[n:])
	}
	return n
}

// Skip returns segs without their first n bytes. It changes the slice it is
// given; n is at most Len(segs).
func Skip(segs [][]byte, n int) [][]byte {
	for n > 0 {
		if n < len(segs[0]) {
			segs[0] = segs[0][n:]
			break
		}
		n -= len(segs[0])
		segs = segs[1:]
	}
	return segs
}

// Truncate returns the first n bytes of segs. It changes the slice it is given;
// n is at most Len(segs).
func Truncate(segs [][]byte, n int) [][]byte {
	for i := range segs {
		if n <= len(segs[i]) {
			if n == 0 {
				return segs[:i]
			}
			segs[i] = segs[i][:n]
			return segs[:i+1]
		}
		n -= len(segs[i])
	}
	return segs
}
