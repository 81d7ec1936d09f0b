package control

import (
	"sync"

	"gozen/hypervisor/vmmapi"
)

// Output is the guest's console output: an io.Writer for the console device that
// writes to the ring and wakes the connections that show it.
type Output struct {
	ring *vmmapi.Ring

	mu      sync.Mutex
	changed *sync.Cond
	total   uint64 // bytes in the ring
	closed  bool
}

// NewOutput returns the Output that goes on in the ring after what is there.
func NewOutput(ring *vmmapi.Ring) (*Output, error) {
	total, err := ring.Total()
	if err != nil {
		return nil, err
	}
	o := &Output{ring: ring, total: total}
	o.changed = sync.NewCond(&o.mu)
	return o, nil
}

// Write appends p to the ring. It waits for nobody who reads.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.ring.Write(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total += uint64(n)
	o.changed.Broadcast()
	return n, err
}

// Close says that no output follows.
func (o *Output) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changed.Broadcast()
}

func (o *Output) end() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// wait returns true when there is output after position at, and false when there
// will be none or givenUp is true; whoever sets that calls wake.
func (o *Output) wait(at uint64, givenUp func() bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		switch {
		case givenUp():
			return false
		case o.total > at:
			return true
		case o.closed:
			return false
		}
		o.changed.Wait()
	}
}

func (o *Output) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed.Broadcast()
}
