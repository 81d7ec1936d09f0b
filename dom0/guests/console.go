package guests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gozen/dom0/fault"
	"gozen/hypervisor/vmmapi"
)

const (
	// readLimit is how much a viewer reads at once, in bytes.
	readLimit = 64 << 10
	// outputRest is the pause between two looks for output.
	outputRest = time.Millisecond
	// inputTimeout is how long a guest may leave input unread before the one who
	// typed it hears of it.
	inputTimeout = 10 * time.Second
)

// console is a guest's console as its viewers see it. What the guest prints is
// in the ring; every viewer is a place in it. The connection to the vmm carries
// what they type, and what comes back on it only says that there is more in the
// ring. So a viewer sees everything once and in order, whenever it comes, and a
// slow one loses old output but holds up nobody.
type console struct {
	path string // of the ring

	mu    sync.Mutex
	file  *os.File
	ring  *vmmapi.Ring // nil before the first start
	conn  *net.UnixConn
	alive bool          // the guest runs, or will again without being asked to
	more  chan struct{} // closed when there is more to read, or alive changed
}

func newConsole(path string) *console {
	return &console{path: path, more: make(chan struct{})}
}

// load finds the ring that an earlier daemon left.
func (c *console) load() error {
	f, err := os.OpenFile(c.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	ring, err := vmmapi.OpenRing(f)
	if err != nil {
		_ = f.Close()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file, c.ring = f, ring
	return nil
}

// reset makes a ring for a new vmm and returns a descriptor of it for the vmm.
// With keep the present ring is used further, if it is sound.
func (c *console) reset(keep bool) (*os.File, error) {
	if keep && c.sound() {
		return os.OpenFile(c.path, os.O_RDWR, 0)
	}
	f, err := create(c.path)
	if err != nil {
		return nil, err
	}
	ring, err := vmmapi.CreateRing(f, vmmapi.DefaultRingBytes)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	forVMM, err := os.OpenFile(c.path, os.O_RDWR, 0)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		_ = c.file.Close()
	}
	c.file, c.ring = f, ring
	return forVMM, nil
}

func (c *console) sound() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return false
	}
	_, err := vmmapi.OpenRing(c.file)
	return err == nil
}

// attach connects the console to a vmm.
func (c *console) attach(ctx context.Context, v *vm) error {
	client, err := v.dial(ctx)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	defer client.Close()
	conn, err := client.Console(ctx)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	c.mu.Lock()
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn = conn
	c.alive = true
	c.wake()
	c.mu.Unlock()
	go func() {
		b := make([]byte, readLimit)
		for {
			_, err := conn.Read(b)
			// Rest a little: much output comes in large pieces then, and a vmm that
			// pours it out cannot keep the daemon busy. Nothing is lost, it is all in
			// the ring.
			time.Sleep(outputRest)
			c.mu.Lock()
			c.wake()
			if err != nil && c.conn == conn {
				c.conn = nil
				_ = conn.Close()
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// end tells viewers that no more will come.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
	c.alive = false
	c.wake()
}

// close gives the files back.
func (c *console) close() {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		_ = c.file.Close()
		c.file, c.ring = nil, nil
	}
}

// wake must be called with mu held.
func (c *console) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// Viewer reads a guest's console. It is for one goroutine; Write and Resize may
// be called from another.
type Viewer struct {
	g      *guest
	ring   *vmmapi.Ring // the ring it began with, to notice a new one
	next   uint64
	follow bool
}

// newViewer returns a viewer of what is retained, if replay, and what follows.
func (g *guest) newViewer(replay, follow bool) (*Viewer, error) {
	g.console.mu.Lock()
	defer g.console.mu.Unlock()
	v := &Viewer{g: g, ring: g.console.ring, follow: follow}
	if v.ring != nil && !replay {
		total, err := v.ring.Total()
		if err != nil {
			return nil, fmt.Errorf("guest %q: console log: %w", g.name, err)
		}
		v.next = total
	}
	return v, nil
}

// Read returns the next output and its offset in all that the guest printed
// since the admin started it; offsets jump over what was overwritten before it
// was read. At the end it returns io.EOF: when nothing is left and the viewer does
// not follow, or when the guest has ended and is not being restarted.
func (v *Viewer) Read(ctx context.Context) (data []byte, offset uint64, err error) {
	for {
		data, offset, more, err := v.poll()
		if err != nil || len(data) > 0 {
			return data, offset, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-more:
		}
	}
}

func (v *Viewer) poll() (data []byte, offset uint64, more <-chan struct{}, err error) {
	c := v.g.console
	// The lock is held over the read so that the file is not closed meanwhile. The
	// read is one of memory.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ring != v.ring {
		if c.ring == nil {
			return nil, 0, nil, io.EOF
		}
		v.ring, v.next = c.ring, 0
	}
	if c.ring != nil {
		data, offset, err := c.ring.Read(v.next, readLimit)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("guest %q: console log: %w", v.g.name, err)
		}
		if len(data) > 0 {
			v.next = offset + uint64(len(data))
			return data, offset, nil, nil
		}
	}
	if !v.follow || !c.alive {
		return nil, 0, nil, io.EOF
	}
	return nil, 0, c.more, nil
}

// Write sends input to the guest.
func (v *Viewer) Write(p []byte) (int, error) {
	v.g.console.mu.Lock()
	conn := v.g.console.conn
	v.g.console.mu.Unlock()
	if conn == nil {
		return 0, fault.New(fault.Precondition, "guest %q: its console takes no input now: the guest does not run", v.g.name)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(inputTimeout))
	n, err := conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, fault.New(fault.Unavailable, "guest %q: it does not read its console", v.g.name)
	}
	if err != nil {
		return n, fmt.Errorf("guest %q: console: %w", v.g.name, err)
	}
	return n, nil
}

// Resize tells the guest the size of the viewer's terminal.
func (v *Viewer) Resize(ctx context.Context, columns, rows uint16) error {
	_, err := v.g.request(ctx, vmmapi.Request{Op: vmmapi.OpResize, Columns: columns, Rows: rows})
	return err
}

func (g *guest) ringPath() string { return filepath.Join(g.dir, ringFile) }
