package writecache

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// BlockBytes is the unit in which a disk keeps or loses data.
const BlockBytes = 4096

// cache is a volatile write cache in front of a file. It is safe for concurrent
// use. Ranges must be within the disk.
type cache struct {
	mu     sync.Mutex
	stable *os.File
	size   int64
	random *rand.Rand
	// unflushed has the newest content of each block that is not durable yet, by
	// its number. Contents are never changed, only replaced.
	unflushed map[int64][]byte
	flushes   int

	stallIn int           // flushes with something to do until one is not answered; 0 for never
	stalled chan struct{} // closed then
	off     chan struct{} // closed when the power is off
}

var zeroBlock = make([]byte, BlockBytes)

// newCache makes an empty cache in front of a file of whole blocks.
func newCache(stable *os.File, random *rand.Rand) (*cache, error) {
	info, err := stable.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || info.Size()%BlockBytes != 0 {
		return nil, fmt.Errorf("%s has %d bytes: want a multiple of %d", stable.Name(), info.Size(), BlockBytes)
	}
	return &cache{stable: stable, size: info.Size(), random: random, unflushed: make(map[int64][]byte), off: make(chan struct{})}, nil
}

// span is a part of a block.
type span struct {
	block    int64
	from, to int64 // bytes within the block
	at       int64 // of its first byte in the whole range
}

func (s span) whole() bool { return s.to-s.from == BlockBytes }

// spans cuts a range at the borders of blocks.
func spans(off, length int64) iter.Seq[span] {
	return func(yield func(span) bool) {
		for at := int64(0); at < length; {
			from := (off + at) % BlockBytes
			s := span{block: (off + at) / BlockBytes, from: from, to: min(BlockBytes, from+length-at), at: at}
			if !yield(s) {
				return
			}
			at += s.to - s.from
		}
	}
}

// newest returns what a read of the block gives. It must not be changed.
func (c *cache) newest(block int64) ([]byte, error) {
	if b, ok := c.unflushed[block]; ok {
		return b, nil
	}
	b := make([]byte, BlockBytes)
	_, err := c.stable.ReadAt(b, block*BlockBytes)
	return b, err
}

// read fills b from off on.
func (c *cache) read(b []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.stable.ReadAt(b, off); err != nil {
		return err
	}
	for s := range spans(off, int64(len(b))) {
		if cached, ok := c.unflushed[s.block]; ok {
			copy(b[s.at:], cached[s.from:s.to])
		}
	}
	return nil
}

// write writes b from off on; through makes it durable before it returns.
func (c *cache) write(b []byte, off int64, through bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range spans(off, int64(len(b))) {
		content, err := c.newest(s.block)
		if err != nil {
			return err
		}
		content = slices.Clone(content)
		copy(content[s.from:s.to], b[s.at:])
		if err := c.replace(s.block, content, through); err != nil {
			return err
		}
	}
	return nil
}

// zero is a write of zeros.
func (c *cache) zero(off, length int64, through bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range spans(off, length) {
		content := zeroBlock
		if !s.whole() {
			old, err := c.newest(s.block)
			if err != nil {
				return err
			}
			content = slices.Clone(old)
			clear(content[s.from:s.to])
		}
		if err := c.replace(s.block, content, through); err != nil {
			return err
		}
	}
	return nil
}

// replace makes content the newest of a block.
func (c *cache) replace(block int64, content []byte, through bool) error {
	if through {
		if err := c.store(block, content); err != nil {
			return err
		}
		delete(c.unflushed, block)
		return nil
	}
	// A disk writes back when it likes, so the version before may have got there.
	if old, ok := c.unflushed[block]; ok && c.random.IntN(2) == 0 {
		if err := c.store(block, old); err != nil {
			return err
		}
	}
	c.unflushed[block] = content
	return nil
}

func (c *cache) store(block int64, content []byte) error {
	_, err := c.stable.WriteAt(content, block*BlockBytes)
	return err
}

// discard empties the whole blocks of a range, at once and for good.
func (c *cache) discard(off, length int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, end := (off+BlockBytes-1)/BlockBytes, (off+length)/BlockBytes
	if first >= end {
		return nil
	}
	for block := first; block < end; block++ {
		delete(c.unflushed, block)
	}
	return unix.Fallocate(int(c.stable.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, first*BlockBytes, (end-first)*BlockBytes)
}

// flush makes everything durable that was written.
func (c *cache) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushes++
	for block, content := range c.unflushed {
		if err := c.store(block, content); err != nil {
			return err
		}
		delete(c.unflushed, block)
	}
	return nil
}

// stallAt makes the nth flush from now on that has something to do stall.
func (c *cache) stallAt(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stallIn, c.stalled = n, make(chan struct{})
	return c.stalled
}

// stalls says whether the flush that was just asked for must not be answered.
func (c *cache) stalls() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stallIn == 0 || len(c.unflushed) == 0 {
		return false
	}
	c.stallIn--
	if c.stallIn > 0 {
		return false
	}
	close(c.stalled)
	return true
}

// cut empties the cache: each block gets to the file with the probability keep,
// and is lost otherwise.
func (c *cache) cut(keep float64) (Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := Outcome{Flushes: c.flushes}
	// In the order of their numbers, so that the same seed does the same.
	blocks := make([]int64, 0, len(c.unflushed))
	for block := range c.unflushed {
		blocks = append(blocks, block)
	}
	slices.Sort(blocks)
	for _, block := range blocks {
		if c.random.Float64() >= keep {
			o.Lost++
			continue
		}
		o.Kept++
		if err := c.store(block, c.unflushed[block]); err != nil {
			return o, err
		}
	}
	clear(c.unflushed)
	return o, nil
}
