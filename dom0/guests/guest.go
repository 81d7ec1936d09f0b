package guests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gozen/dom0/events"
	"gozen/dom0/fault"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypervisor/vmmapi"
)

// Shorter names of the states.
const (
	stopped  = gozenv1.GuestState_GUEST_STATE_STOPPED
	starting = gozenv1.GuestState_GUEST_STATE_STARTING
	running  = gozenv1.GuestState_GUEST_STATE_RUNNING
	stopping = gozenv1.GuestState_GUEST_STATE_STOPPING
	crashedS = gozenv1.GuestState_GUEST_STATE_CRASHED
)

const (
	// startTimeout is how long a vmm may take to bring the first vCPU to run.
	startTimeout = 2 * time.Minute
	// pressEvery is the pause after which the power button is pressed again: a
	// guest that is still starting does not listen to it yet.
	pressEvery = 10 * time.Second
	// maxDeviceErrors bounds the errors that a guest's devices can leave in its
	// status.
	maxDeviceErrors = 32
)

// status is what is so, without what is asked for anew every time.
type status struct {
	state        gozenv1.GuestState
	reason, code string
	startedAt    time.Time
	endedAt      time.Time
	restarts     uint32
	restarting   bool
	deviceErrors []string
}

// guest is one guest. Its loop owns everything in the last group of fields.
type guest struct {
	m       *Manager
	name    string
	id      string
	dir     string // run directory
	created time.Time
	spec    *gozenv1.GuestSpec // complete; never changed
	log     *slog.Logger
	console *console

	inbox chan func()   // work for the loop
	gone  chan struct{} // closed when the loop has ended

	mu      sync.Mutex
	status  status
	vm      *vm           // nil when there is none; written by the loop only
	changed chan struct{} // closed when status changes
	deleted bool

	begun   []chan<- error // those who wait for the start
	done    []chan<- bool  // those who wait for the stop: whether it took a kill
	asked   bool           // the admin wants the guest to end
	killed  string         // why the daemon killed it, if it did
	backoff backoff
	startBy <-chan time.Time // timers, nil when not set
	stopBy  <-chan time.Time
	pressAt <-chan time.Time
	again   <-chan time.Time
}

// do runs f in the guest's loop and waits for it. It fails when the guest was
// deleted or ctx ended.
func (g *guest) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case g.inbox <- func() { defer close(done); f() }:
	case <-g.gone:
		return notFound(g.name)
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done // the loop never blocks for long
	return nil
}

// loop is the guest's life in the daemon.
func (g *guest) loop() {
	defer close(g.gone)
	for {
		var ended <-chan struct{}
		var said <-chan vmmapi.Event
		if g.vm != nil {
			ended, said = g.vm.ended, g.vm.events
		}
		select {
		case f := <-g.inbox:
			f()
			if g.isDeleted() {
				return
			}
		case e, ok := <-said:
			if ok {
				g.onEvent(e)
			} else {
				g.vm.events = nil // nothing more is said; the end is seen by the pidfd
			}
		case <-ended:
			g.onEnd()
		case <-g.startBy:
			g.startBy = nil
			g.killed = fmt.Sprintf("killed: its first vCPU did not run within %s", startTimeout)
			g.vm.kill()
		case <-g.pressAt:
			g.press()
		case <-g.stopBy:
			g.cut("killed: it did not power off in time")
		case <-g.again:
			g.again = nil
			g.restart()
		case <-g.m.closing:
			// The daemon ends; guests do not.
			if g.vm != nil {
				g.vm.close()
			}
			g.console.close()
			return
		}
	}
}

// set changes the status, keeps it and tells those who wait for a change.
func (g *guest) set(change func(*status)) {
	g.mu.Lock()
	change(&g.status)
	rec := g.status.record()
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	if err := g.m.statuses.Put(g.name, rec); err != nil {
		// What is so stays so, and can be asked for; it is forgotten only if the
		// host goes down before the next change is kept.
		g.log.Error("cannot keep the guest's status", "err", err)
	}
}

func (s *status) record() *statusRecord {
	return &statusRecord{
		State: s.state.String(), Reason: s.reason, ReasonCode: s.code,
		StartedAt: s.startedAt, EndedAt: s.endedAt, Restarts: s.restarts, Restarting: s.restarting,
	}
}

func (g *guest) event(kind, code, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	g.log.Info("guest "+kind, "message", message, "code", code)
	g.m.opt.Events.Add(events.Event{Guest: g.name, Kind: kind, Message: message, ReasonCode: code})
}

// start starts the guest for the admin; the channel gets the result when its
// first vCPU runs. It runs in the loop.
func (g *guest) start(result chan<- error) {
	switch {
	case g.m.isClosing():
		result <- fault.New(fault.Unavailable, "guest %q: the host is shutting down", g.name)
		return
	case g.status.state == starting:
		g.begun = append(g.begun, result)
		return
	case g.vm != nil:
		result <- fault.New(fault.Precondition, "guest %q: is running already", g.name)
		return
	}
	g.again = nil
	g.backoff = backoff{}
	if err := g.launch(false, 0); err != nil {
		result <- err
		return
	}
	g.begun = append(g.begun, result)
}

// launch makes a vmm for the guest. keepLog lets the console's log go on. After
// an error the guest is as it was before.
func (g *guest) launch(keepLog bool, restarts uint32) error {
	before := g.snapshot()
	slot, err := g.m.reserve(g)
	if err != nil {
		return err
	}
	// Said before it is tried: a start takes a while, and who looks at the guest
	// meanwhile wants to know.
	g.set(func(s *status) {
		*s = status{state: starting, restarts: restarts, startedAt: g.m.opt.Clock.Now()}
	})
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	v, err := g.m.spawn(ctx, g, slot, keepLog)
	if err != nil {
		g.m.free(g)
		g.set(func(s *status) { *s = before })
		err = fmt.Errorf("guest %q: cannot start: %w", g.name, err)
		g.log.Error("start failed", "err", err)
		return err
	}
	g.adopt(v)
	g.asked, g.killed = false, ""
	g.startBy = g.m.opt.Clock.After(startTimeout)
	g.event("starting", "", "vmm process %d", v.PID)
	return nil
}

func (g *guest) adopt(v *vm) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vm = v
}

// stop presses the power button and sets the deadline. The channel gets whether
// the guest had to be killed. It runs in the loop.
func (g *guest) stop(timeout time.Duration, result chan<- bool) error {
	if g.cancelRestart() {
		result <- false
		return nil
	}
	if g.vm == nil {
		return fault.New(fault.Precondition, "guest %q: is not running", g.name)
	}
	g.done = append(g.done, result)
	g.asked = true
	g.stopBy = g.m.opt.Clock.After(timeout)
	if g.status.state != stopping {
		g.set(func(s *status) { s.state, s.reason, s.code = stopping, "asked to power off", "" })
		g.event("stopping", "", "power button pressed; %s to power off", timeout)
		g.startBy = nil
	}
	g.press()
	return nil
}

// press presses the guest's power button, and again after a while. It does not
// wait for the vmm, which may be stuck; the deadline does.
func (g *guest) press() {
	g.pressAt = g.m.opt.Clock.After(pressEvery)
	v := g.vm
	go func() {
		if _, err := v.request(context.Background(), vmmapi.Request{Op: vmmapi.OpPowerButton}); err != nil {
			g.log.Warn("cannot press the power button", "err", err)
		}
	}()
}

// kill ends the guest. It runs in the loop.
func (g *guest) kill(result chan<- bool) error {
	if g.cancelRestart() {
		result <- false
		return nil
	}
	if g.vm == nil {
		return fault.New(fault.Precondition, "guest %q: is not running", g.name)
	}
	g.done = append(g.done, result)
	g.asked = true
	g.cut("killed")
	return nil
}

// cut ends the vmm as the admin wants it. That is noted first, so that also a
// daemon that starts just then knows that it was no crash.
func (g *guest) cut(reason string) {
	g.stopBy, g.pressAt = nil, nil
	g.killed = reason
	g.vm.Killed = true
	if err := g.vm.save(); err != nil {
		g.log.Warn("cannot note that the guest is killed", "err", err)
	}
	g.vm.kill()
}

// cancelRestart gives up a restart that is due, and tells whether there was one.
func (g *guest) cancelRestart() bool {
	if g.again == nil {
		return false
	}
	g.again = nil
	g.set(func(s *status) { s.restarting = false })
	g.console.end()
	return true
}

func (g *guest) onEvent(e vmmapi.Event) {
	switch e.Kind {
	case vmmapi.EventRunning:
		g.startBy = nil
		if g.status.state == starting { // not found again, nor being stopped
			g.set(func(s *status) { s.state = running })
			g.event("running", "", "its first vCPU runs")
		}
		g.begin(nil)
	case vmmapi.EventDeviceError:
		text := Clip(e.Device + ": " + e.Message)
		if len(g.status.deviceErrors) == maxDeviceErrors {
			return
		}
		g.set(func(s *status) {
			s.deviceErrors = append(s.deviceErrors[:len(s.deviceErrors):len(s.deviceErrors)], text)
		})
		g.event("device-error", "", "%s", text)
	}
}

// begin answers those who wait for the start.
func (g *guest) begin(err error) {
	for _, c := range g.begun {
		c <- err
	}
	g.begun = nil
}

// onEnd acts on the end of the vmm.
func (g *guest) onEnd() {
	v := g.vm
	// What it said last still counts. The stream ends, for the process is gone.
	for v.events != nil {
		e, ok := <-v.events
		if !ok {
			break
		}
		g.onEvent(e)
	}
	ran := g.status.state != starting
	code, reason := g.outcome(v, ran)
	g.adopt(nil)
	g.cleanUp(v)
	g.m.free(g)
	g.startBy, g.stopBy, g.pressAt = nil, nil, nil

	if code == vmmapi.CodeReset && !g.asked && !g.m.isClosing() {
		g.event("restarting", code, "%s", reason)
		err := g.launch(true, g.status.restarts)
		if err == nil {
			return
		}
		code, reason = vmmapi.CodeStartFailed, err.Error()
	}
	g.settle(v, code, reason)
}

// settle records how the guest ended and decides what comes next.
func (g *guest) settle(v *vm, code, reason string) {
	now := g.m.opt.Clock.Now()
	state := stopped
	if crashed(code) {
		state = crashedS
	}
	again := !g.asked && !g.m.isClosing() && restarts(g.spec.Restart, code) && len(g.begun) == 0
	g.set(func(s *status) {
		s.state, s.reason, s.code, s.endedAt, s.restarting = state, reason, code, now, again
	})
	kind := "stopped"
	if state == crashedS {
		kind = "crashed"
	}
	g.event(kind, code, "%s", reason)
	g.begin(fault.New(fault.Aborted, "guest %q: did not start: %s", g.name, reason))
	for _, c := range g.done {
		c <- g.killed != ""
	}
	g.done = nil
	if !again {
		g.console.end()
		return
	}
	lived := time.Duration(0)
	if v != nil {
		lived = now.Sub(v.StartedAt)
	}
	g.restartAfter(g.backoff.next(lived), code)
}

func (g *guest) restartAfter(pause time.Duration, code string) {
	g.again = g.m.opt.Clock.After(pause)
	g.event("restarting", code, "in %s, by its restart policy", pause)
}

// restart starts the guest for its restart policy.
func (g *guest) restart() {
	if g.m.isClosing() {
		return
	}
	g.asked = false
	if err := g.launch(true, g.status.restarts+1); err != nil {
		g.set(func(s *status) { s.restarts++ })
		g.settle(nil, vmmapi.CodeStartFailed, err.Error())
	}
}

// outcome says how the vmm ended.
func (g *guest) outcome(v *vm, ran bool) (code, reason string) {
	if o := readOutcome(v.dir); o != nil {
		if !ran && !g.asked {
			return vmmapi.CodeStartFailed, o.Message
		}
		return o.Code, o.Message
	}
	if g.killed != "" {
		if !g.asked {
			return vmmapi.CodeStartFailed, g.killed
		}
		return vmmapi.CodeKilled, g.killed
	}
	how := "its vmm ended without a word"
	if v.exit != "" {
		how += " (" + v.exit + ")"
	}
	if g.m.opt.Cgroups != nil {
		if n, err := g.m.opt.Cgroups.Group(g.id).OOMKills(); err == nil && n > 0 {
			how = "its vmm was killed by the kernel: the guest's memory limit was used up"
		}
	}
	if tail := logTail(v.dir); tail != "" {
		g.log.Error("the vmm printed before it ended", "output", tail)
	}
	if !ran {
		return vmmapi.CodeStartFailed, how
	}
	return codeVMMDied, how
}

// cleanUp removes what a vmm that ended leaves on the host. Its console log and
// outcome stay until the next start.
func (g *guest) cleanUp(v *vm) {
	v.close()
	for _, t := range v.Taps {
		if network, err := g.m.network(); err == nil {
			network.Remove(t.Name) // the tap itself went with the vmm
		}
	}
	if g.m.opt.Cgroups != nil {
		if err := g.m.opt.Cgroups.Group(g.id).Remove(groupTimeout); err != nil {
			g.log.Warn("cannot remove the control group", "err", err)
		}
	}
	for _, name := range []string{controlFile, vmmFile} {
		if err := os.Remove(filepath.Join(g.dir, name)); err != nil && !errors.Is(err, unix.ENOENT) {
			g.log.Warn("cannot remove a file of the vmm", "err", err)
		}
	}
}

// request asks the vmm of a running guest.
func (g *guest) request(ctx context.Context, req vmmapi.Request) (vmmapi.Response, error) {
	g.mu.Lock()
	v := g.vm
	g.mu.Unlock()
	if v == nil {
		return vmmapi.Response{}, fault.New(fault.Precondition, "guest %q: is not running", g.name)
	}
	resp, err := v.request(ctx, req)
	if err != nil {
		return resp, fmt.Errorf("guest %q: %w", g.name, err)
	}
	return resp, nil
}

func (g *guest) snapshot() status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

func (g *guest) isDeleted() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.deleted
}
