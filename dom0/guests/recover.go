package guests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gozen/dom0/fault"
	"gozen/dom0/guestnet"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypervisor/vmmapi"
)

// autostartFile in the run directory says that guests were started with the
// host. It is in memory: gone after a boot, there after the daemon's restart.
const autostartFile = "autostart-done"

// load reads specs and statuses and sets every guest going in the state that is
// so.
func (m *Manager) load() error {
	specs, err := m.specs.Load(checkSpec)
	if err != nil {
		return err
	}
	statuses, err := m.statuses.Load(checkStatus)
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for name, r := range specs {
		g := m.newGuest(r.ID, r.CreatedAt, r.Spec.GuestSpec)
		known[r.ID] = true
		if st := statuses[name]; st != nil {
			g.status = status{
				state: gozenv1.GuestState(gozenv1.GuestState_value[st.State]), reason: st.Reason, code: st.ReasonCode,
				startedAt: st.StartedAt, endedAt: st.EndedAt, restarts: st.Restarts, restarting: st.Restarting,
			}
		}
		m.opt.Images.Restore(name, g.spec.Kernel, g.spec.Initrd)
		m.opt.Volumes.Restore(name, uses(g.spec))
		m.guests[name] = g
	}
	for name := range statuses {
		if specs[name] == nil {
			if err := m.statuses.Delete(name); err != nil {
				m.opt.Log.Warn("cannot remove the status of a guest that is not there", "guest", name, "err", err)
			}
		}
	}
	live := m.resume()
	m.sweep(known, live)
	for _, g := range m.guests {
		go g.loop()
	}
	return nil
}

// resume finds the vmms again and returns the identifiers of their guests.
func (m *Manager) resume() map[string]bool {
	live := make(map[string]bool)
	for _, g := range m.guests {
		if err := g.console.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			g.log.Warn("the console log cannot be read", "err", err)
		}
		rec, err := readVMM(g.dir)
		if err != nil {
			g.log.Error("the vmm cannot be found again; if it runs it is killed", "err", err)
		}
		switch {
		case rec != nil:
			if g.resume(*rec) {
				live[g.id] = true
			}
		default:
			g.lost()
		}
	}
	return live
}

// resume takes up a guest whose vmm ran when the daemon ended; it tells whether
// the vmm still runs.
func (g *guest) resume(rec vmmRecord) bool {
	if rec.Killed {
		g.asked, g.killed = true, "killed"
	}
	v, err := watch(g.dir, rec, nil, g.log)
	if err != nil {
		// It ended meanwhile. The loop finds out how, from a vmm that has ended.
		g.log.Info("the vmm ended while the daemon was away", "pid", rec.PID)
		v = &vm{vmmRecord: rec, dir: g.dir, log: g.log, ended: make(chan struct{})}
		close(v.ended)
		g.vm = v
		if g.status.state == stopping {
			g.asked = true
		}
		return false
	}
	g.vm = v
	g.m.promised[g] = g.spec.MemoryBytes
	g.m.slots[rec.Slot] = g
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	err = v.connect(ctx)
	if err == nil {
		err = g.console.attach(ctx, v)
	}
	if err != nil {
		g.log.Error("the vmm runs but does not answer; the guest can be killed", "pid", rec.PID, "err", err)
	}
	if rec.Killed {
		v.kill() // the last daemon did not come to it
	}
	switch g.status.state {
	case stopping:
		g.asked = true
		g.stopBy = g.m.opt.Clock.After(g.spec.StopTimeout.AsDuration())
	case starting:
		g.startBy = g.m.opt.Clock.After(startTimeout)
	case running:
	default:
		// The status was not kept, since the disk was full for example.
		g.status.state = running
	}
	g.event("found", "", "vmm process %d still runs", rec.PID)
	return true
}

// lost settles a guest without a vmm whose status says that it has one: the host
// went down under it.
func (g *guest) lost() {
	s := &g.status
	switch s.state {
	case starting, running, stopping:
	default:
		if s.restarting {
			g.restartAfter(g.backoff.next(0), s.code)
		}
		return
	}
	s.state, s.code, s.reason = stopped, codeHostRestart, "the host went down while the guest ran"
	s.endedAt = g.m.opt.Clock.Now()
	if err := g.m.statuses.Put(g.name, s.record()); err != nil {
		g.log.Error("cannot keep the guest's status", "err", err)
	}
}

// sweep removes what a daemon that ended at a bad moment left: control groups
// (with the processes in them) and run directories of no guest that runs.
func (m *Manager) sweep(known, live map[string]bool) {
	if m.opt.Cgroups != nil {
		names, err := m.opt.Cgroups.Names()
		if err != nil {
			m.opt.Log.Error("cannot look for left-over vmms", "err", err)
		}
		for _, id := range names {
			if live[id] {
				continue
			}
			if g := m.byID(id); g != nil && g.vm != nil {
				continue // ended; its loop looks at the group, then removes it
			}
			m.opt.Log.Warn("removing the control group of no guest", "group", id)
			if err := m.opt.Cgroups.Group(id).Remove(groupTimeout); err != nil {
				m.opt.Log.Error("cannot remove it", "group", id, "err", err)
			}
		}
	}
	entries, err := os.ReadDir(m.opt.RunDir)
	if err != nil {
		m.opt.Log.Error("cannot look for left-over run directories", "err", err)
		return
	}
	for _, e := range entries {
		if !e.IsDir() || known[e.Name()] {
			continue
		}
		if err := removeRunDir(filepath.Join(m.opt.RunDir, e.Name())); err != nil {
			m.opt.Log.Error("cannot remove a left-over run directory", "err", err)
		}
	}
}

func (m *Manager) byID(id string) *guest {
	for _, g := range m.guests {
		if g.id == id {
			return g
		}
	}
	return nil
}

// Ports returns the places on the guests' network that were in use when the last
// daemon ended. The network must know them before it opens, which is before Open.
func Ports(runDir string) ([]guestnet.Port, error) {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("guests: %w", err)
	}
	var out []guestnet.Port
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		rec, err := readVMM(filepath.Join(runDir, e.Name()))
		if err != nil || rec == nil {
			continue // Open reports a record that cannot be read
		}
		for _, t := range rec.Taps {
			if mac, err := net.ParseMAC(t.MAC); err == nil {
				out = append(out, guestnet.Port{Tap: t.Name, MAC: mac})
			}
		}
	}
	return out, nil
}

// Autostart starts the guests that start with the host, once after every boot:
// those marked so, and those whose policy is to run always and that ran when the
// host went down.
func (m *Manager) Autostart(ctx context.Context) {
	done := filepath.Join(m.opt.RunDir, autostartFile)
	if _, err := os.Stat(done); err == nil {
		return
	}
	for _, g := range m.all() {
		s := g.snapshot()
		always := g.spec.Restart == gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS && s.code == codeHostRestart
		if !g.spec.Autostart && !always {
			continue
		}
		if s.state != stopped && s.state != crashedS {
			continue
		}
		if _, err := m.Start(ctx, g.name); err != nil {
			m.opt.Log.Error("autostart", "guest", g.name, "err", err)
			m.failAutostart(ctx, g, err)
		}
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		m.opt.Log.Error("cannot note that guests were started with the host", "err", err)
	}
}

// failAutostart shows in the guest's status that it could not be started, and
// leaves the rest to its restart policy.
func (m *Manager) failAutostart(ctx context.Context, g *guest, cause error) {
	err := g.do(ctx, func() {
		if g.vm == nil && g.status.state == stopped {
			g.settle(nil, vmmapi.CodeStartFailed, cause.Error())
		}
	})
	if err != nil {
		m.opt.Log.Error("autostart", "guest", g.name, "err", err)
	}
}

// Shutdown stops all guests at once, kills those that take longer than timeout,
// and lets no guest start any more.
func (m *Manager) Shutdown(ctx context.Context, timeout time.Duration) {
	m.mu.Lock()
	m.draining = true
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, g := range m.all() {
		wg.Go(func() {
			killed, err := g.end(ctx, func(result chan<- bool) error {
				if g.vm == nil {
					// A restart that is due stays noted and comes after the next boot.
					g.again = nil
					return fault.New(fault.Precondition, "guest %q: is not running", g.name)
				}
				return g.stop(timeout, result)
			})
			switch {
			case fault.KindOf(err) == fault.Precondition:
				return // it does not run
			case err != nil:
				m.opt.Log.Error("cannot stop the guest", "guest", g.name, "err", err)
				return
			}
			// Told apart from a stop that the admin asked for.
			err = g.do(ctx, func() {
				g.set(func(s *status) {
					s.code = codeHostRestart
					s.reason = "stopped for the host to go down"
					if killed {
						s.reason = fmt.Sprintf("killed for the host to go down: it did not power off within %s", timeout)
					}
				})
			})
			if err != nil {
				m.opt.Log.Error("cannot record the stop", "guest", g.name, "err", err)
			}
		})
	}
	wg.Wait()
}

// Resume lets guests start again after a Shutdown that the host did not follow.
func (m *Manager) Resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.draining = m.closed
}
