package writecache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// Disk is a disk with a volatile write cache, served to NBD clients. Several at
// once see the same content.
type Disk struct {
	file     string
	cache    *cache
	listener net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool // nil when the power is off
	wg    sync.WaitGroup    // of the listener and the connections
}

// Outcome is what a power cut did.
type Outcome struct {
	// Kept and Lost count the blocks of BlockBytes that were not flushed.
	Kept, Lost int
	// Flushes counts those that the disk was asked for since it was started.
	Flushes int
}

// Start serves the disk that is kept in a file of whole blocks, on a new Unix
// socket. The seed decides what is lost at a cut.
func Start(file, socket string, seed uint64) (*Disk, error) {
	fail := func(err error) (*Disk, error) {
		return nil, fmt.Errorf("writecache: start a disk on %s: %w", file, err)
	}
	stable, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	d := &Disk{file: file, conns: make(map[net.Conn]bool)}
	if d.cache, err = newCache(stable, rand.New(rand.NewPCG(seed, 0))); err != nil {
		stable.Close()
		return fail(err)
	}
	if d.listener, err = net.Listen("unix", socket); err != nil {
		stable.Close()
		return fail(err)
	}
	d.wg.Go(d.accept)
	return d, nil
}

// accept serves clients until the listener is closed.
func (d *Disk) accept() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		if !d.add(conn) {
			conn.Close()
			return
		}
		d.wg.Go(func() {
			// A client that breaks off or the protocol is cut off, and notices.
			_ = serve(conn, d.cache)
			d.mu.Lock()
			delete(d.conns, conn)
			d.mu.Unlock()
			conn.Close()
		})
	}
}

func (d *Disk) add(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		return false
	}
	d.conns[conn] = true
	return true
}

// StallAtFlush makes the disk answer its client nothing more from the nth flush (1
// for the next) on that has something to make durable. The channel is closed when
// that flush comes. A cut is then sure to come between a write and its flush; at any other
// time there is seldom something that is not flushed.
func (d *Disk) StallAtFlush(n int) <-chan struct{} { return d.cache.stallAt(n) }

// Cut takes the power away. Of what was not flushed, each block survives in the
// file with the probability keep. The disk is gone afterwards; Start makes one
// again of the file. A second cut does nothing.
func (d *Disk) Cut(keep float64) (Outcome, error) {
	d.mu.Lock()
	conns := d.conns
	d.conns = nil
	for conn := range conns {
		conn.Close()
	}
	d.mu.Unlock()
	if conns == nil {
		return Outcome{}, nil
	}
	d.listener.Close()
	close(d.cache.off)
	// Requests under way end first; those that wait in a socket are lost.
	d.wg.Wait()
	o, err := d.cache.cut(keep)
	if err := errors.Join(err, d.cache.stable.Close()); err != nil {
		return o, fmt.Errorf("writecache: cut the power of the disk on %s: %w", d.file, err)
	}
	return o, nil
}
