package virtiopci

import (
	"sync/atomic"
)

// events is what a device changes from its own goroutines, without the
// Transport's lock.
type events struct {
	isr        atomic.Uint32 // the configuration bit
	generation atomic.Uint32 // of the device's configuration, 8 bits shown
}

// attempt is one life of the driver, from one reset to the next. A failure
// belongs to it, so that one that arrives late harms no later attempt.
type attempt struct {
	t      *Transport
	failed atomic.Bool
	reason atomic.Pointer[error]
}

// set records the first failure and says whether this is it.
func (a *attempt) set(err error) bool {
	if !a.reason.CompareAndSwap(nil, &err) {
		return false
	}
	a.failed.Store(true)
	return true
}

// fail puts the device in error. It takes no lock.
func (a *attempt) fail(err error) {
	if !a.set(err) {
		return
	}
	a.t.events.isr.Or(isrConfig)
	signal(a.t.config.vector.FD())
	if a.t.cfg.OnError != nil {
		a.t.cfg.OnError(err)
	}
}

func (a *attempt) err() error {
	if p := a.reason.Load(); p != nil {
		return *p
	}
	return nil
}

// configChanged tells the driver to read the device's configuration again.
func (t *Transport) configChanged() {
	t.generation.Add(1)
	t.isr.Or(isrConfig)
	signal(t.config.vector.FD())
}

// takeISR reads and clears the ISR byte. The queue bit exists only while MSI-X is
// off: then signals stay in the queues' eventfds.
func (t *Transport) takeISR() uint8 {
	isr := uint8(t.isr.Swap(0))
	if t.msix.control&msixEnable != 0 {
		return isr
	}
	for _, q := range t.queues {
		if drain(q.vector.FD()) {
			isr |= isrQueue
		}
	}
	return isr
}
