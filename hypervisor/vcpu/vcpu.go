package vcpu

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
)

// Bus is where port and memory accesses go that leave KVM; hypervisor/bus has
// one. Both methods return false when nobody is at the address. They are called
// on the thread of the vCPU, by several vCPUs at once, and must not wait for a
// vCPU: not for Pause, not for Stop.
type Bus interface {
	// Read fills p, of 1 to 8 bytes.
	Read(addr uint64, p []byte) bool
	// Write takes p, of 1 to 8 bytes.
	Write(addr uint64, p []byte) bool
}

// Config is what a VCPU needs.
type Config struct {
	VM    *kvm.VM
	Index int // from 0; also the local APIC's identifier
	Ports Bus
	MMIO  Bus
	// MSRs are the registers that Save reads: kvm.System.MSRIndexList.
	MSRs []uint32
	// Ended is called on the vCPU's thread when the guest cannot go on: err is a
	// *FatalError. It is not called for Stop. It may call RequestStop of every vCPU.
	Ended func(index int, err error)
}

// What is asked of the thread.
const (
	wantPause = int32(iota)
	wantRun
	wantStop
)

// ErrStopped is returned for a VCPU whose thread has ended.
var ErrStopped = errors.New("vCPU has stopped")

// ErrRunning is returned for what can only be done to a paused VCPU.
var ErrRunning = errors.New("vCPU is running")

// VCPU is a processor of a guest. Its methods may be used from any goroutine but
// its own thread, where only RequestStop, Kick and the counters are allowed.
type VCPU struct {
	cfg   Config
	kvm   *kvm.VCPU
	stats *kvm.Stats
	exits [kvm.ExitReasons + 1]atomic.Uint64 // the last: reasons that are not known

	want atomic.Int32
	// wake holds one token when the parked thread has to look at want again.
	wake chan struct{}
	// tasks are functions for the parked thread.
	tasks chan task
	done  chan struct{}

	mu     sync.Mutex
	parked *sync.Cond // mu; signalled when isParked or gone changes
	// isParked says that the thread is out of the guest and will not enter it before
	// want is wantRun.
	isParked bool // mu
	gone     bool // mu: the thread has ended, tid means nothing
	tid      int  // set before New returns

	statsMu  sync.Mutex
	released bool // statsMu: stats is closed
}

type task struct {
	f     func(*kvm.VCPU) error
	reply chan error
}

// New creates the processor and its thread, paused.
func New(cfg Config) (*VCPU, error) {
	v := &VCPU{
		cfg:   cfg,
		wake:  make(chan struct{}, 1),
		tasks: make(chan task),
		done:  make(chan struct{}),
	}
	v.parked = sync.NewCond(&v.mu)
	ready := make(chan error)
	go v.thread(ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return v, nil
}

// Index is Config.Index.
func (v *VCPU) Index() int { return v.cfg.Index }

// thread is the vCPU's thread. It is never unlocked: it ends with the goroutine.
func (v *VCPU) thread(ready chan<- error) {
	runtime.LockOSThread()
	c, err := v.cfg.VM.CreateVCPU(v.cfg.Index)
	if err == nil {
		v.stats, err = c.Stats()
		if err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		ready <- err
		return
	}
	v.kvm = c
	v.tid = unix.Gettid()
	v.isParked = true
	ready <- nil

	err = v.live()

	v.mu.Lock()
	v.gone = true
	v.isParked = true
	v.parked.Broadcast()
	v.mu.Unlock()
	if err != nil && v.cfg.Ended != nil {
		v.cfg.Ended(v.cfg.Index, err)
	}
	close(v.done)
}

// live goes between parking and running until the thread shall stop (nil) or
// the guest cannot go on.
func (v *VCPU) live() error {
	for {
		if !v.park() {
			return nil
		}
		// The guest's watchdogs shall not count the time it was away.
		if err := v.kvm.ClockPaused(); err != nil {
			return v.fatal(FatalRun, err.Error())
		}
		if err := v.run(); err != nil {
			return err
		}
	}
}

// park waits until the thread shall run (true) or stop (false), and does tasks
// meanwhile.
func (v *VCPU) park() bool {
	v.mu.Lock()
	v.isParked = true
	v.parked.Broadcast()
	v.mu.Unlock()
	for {
		v.mu.Lock()
		switch v.want.Load() {
		case wantStop:
			v.mu.Unlock()
			return false
		case wantRun:
			v.isParked = false
			v.mu.Unlock()
			return true
		}
		v.mu.Unlock()
		select {
		case <-v.wake:
		case t := <-v.tasks:
			t.reply <- t.f(v.kvm)
		}
	}
}

// do runs f on the parked thread.
func (v *VCPU) do(f func(*kvm.VCPU) error) error {
	v.mu.Lock()
	parked, gone := v.isParked, v.gone
	v.mu.Unlock()
	switch {
	case gone:
		return fmt.Errorf("vcpu %d: %w", v.cfg.Index, ErrStopped)
	case !parked || v.want.Load() == wantRun:
		return fmt.Errorf("vcpu %d: %w", v.cfg.Index, ErrRunning)
	}
	t := task{f: f, reply: make(chan error, 1)}
	select {
	case v.tasks <- t:
		return <-t.reply
	case <-v.done:
		return fmt.Errorf("vcpu %d: %w", v.cfg.Index, ErrStopped)
	}
}

// Resume lets the processor run. It does nothing to one that runs or has
// stopped.
func (v *VCPU) Resume() {
	if v.want.CompareAndSwap(wantPause, wantRun) {
		v.wakeUp()
	}
}

// Pause takes the processor out of the guest and returns when it is out and
// everything it was doing has been completed. ErrStopped says that it has ended.
func (v *VCPU) Pause() error {
	v.RequestPause()
	v.mu.Lock()
	defer v.mu.Unlock()
	for !v.isParked {
		v.parked.Wait()
	}
	if v.gone {
		return fmt.Errorf("vcpu %d: %w", v.cfg.Index, ErrStopped)
	}
	return nil
}

// RequestPause starts what Pause waits for, so that several vCPUs can be paused
// at once.
func (v *VCPU) RequestPause() {
	if v.want.CompareAndSwap(wantRun, wantPause) {
		v.Kick()
	}
}

// RequestStop makes the thread end at its next way out of the guest, without
// waiting for that. It may be called from the thread itself: the access that is
// being served is its last.
func (v *VCPU) RequestStop() {
	v.want.Store(wantStop)
	v.Kick()
	v.wakeUp()
}

// Stop ends the thread and waits for it.
func (v *VCPU) Stop() {
	v.RequestStop()
	<-v.done
}

// Done is closed when the thread has ended, by Stop or after Config.Ended.
func (v *VCPU) Done() <-chan struct{} { return v.done }

// Kick takes the thread out of the guest if it is there. It goes back in unless
// a pause or stop was requested.
func (v *VCPU) Kick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return
	}
	v.kvm.RequestExit()
	// The thread exists: gone is set, under mu, before it ends. ESRCH and the like
	// cannot happen, and there is nothing to do about them.
	_ = unix.Tgkill(os.Getpid(), v.tid, unix.SIGUSR1)
}

// wakeUp makes a parked thread look at want.
func (v *VCPU) wakeUp() {
	select {
	case v.wake <- struct{}{}:
	default: // a token is there already
	}
}

// Close frees the processor, stopping it first.
func (v *VCPU) Close() error {
	v.Stop()
	v.statsMu.Lock()
	defer v.statsMu.Unlock()
	if v.released {
		return nil
	}
	v.released = true
	err := v.stats.Close()
	if cerr := v.kvm.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close vcpu %d: %w", v.cfg.Index, err)
	}
	return nil
}
