package control

import (
	"sync"

	"gozen/hypervisor/vmmapi"
)

// maxEvents bounds the journal. A guest can make a device fail as often as it
// likes; nothing else repeats.
const maxEvents = 256

// Journal keeps the events of a guest in their order. Its methods may be used
// from many goroutines and do not block for long.
type Journal struct {
	mu      sync.Mutex
	changed *sync.Cond
	events  []vmmapi.Event
	closed  bool
}

// NewJournal returns an empty journal.
func NewJournal() *Journal {
	j := &Journal{}
	j.changed = sync.NewCond(&j.mu)
	return j
}

// Add appends an event. In a full journal device errors are dropped; of the
// other kinds there is one each. After Close it does nothing.
func (j *Journal) Add(e vmmapi.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || e.Kind == vmmapi.EventDeviceError && len(j.events) >= maxEvents {
		return
	}
	j.events = append(j.events, e)
	j.changed.Broadcast()
}

// Close says that no event follows.
func (j *Journal) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.changed.Broadcast()
}

// next waits for event number i and returns it. It returns false at the end of a
// closed journal, or when given up is true; whoever sets that calls wake.
func (j *Journal) next(i int, givenUp func() bool) (vmmapi.Event, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		switch {
		case givenUp():
			return vmmapi.Event{}, false
		case i < len(j.events):
			return j.events[i], true
		case j.closed:
			return vmmapi.Event{}, false
		}
		j.changed.Wait()
	}
}

func (j *Journal) wake() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changed.Broadcast()
}
