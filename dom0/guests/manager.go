package guests

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"gozen/dom0/cgroup"
	"gozen/dom0/events"
	"gozen/dom0/fault"
	"gozen/dom0/guestnet"
	"gozen/dom0/images"
	"gozen/dom0/jail"
	"gozen/dom0/quantity"
	"gozen/dom0/state"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// Clock is the time that stops, restarts and timestamps go by.
type Clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

// SystemClock is the host's clock.
type SystemClock struct{}

// Now returns the time of day.
func (SystemClock) Now() time.Time { return time.Now() }

// After returns a channel that gets one value after d.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Options say what a Manager works with.
type Options struct {
	StateDir string // specs and statuses
	RunDir   string // a directory in memory for what belongs to running guests
	VMM      string // the vmm program
	KVM      string // /dev/kvm

	// Confine gives what a vmm can write a small file system of its own, which
	// needs root.
	Confine bool
	// Start starts a vmm: jail.Start, or without root a process as it is.
	Start func(jail.Program) (*os.Process, error)

	Volumes *volumes.Store
	Images  *images.Store
	Events  *events.Log
	Cgroups *cgroup.Tree // nil leaves guests unbounded
	// Network gives the default network, or why there is none.
	Network func() (*guestnet.Network, error)

	HostCPUs   int
	HostMemory uint64        // bytes
	Reserved   func() uint64 // bytes of it that guests cannot have

	Clock Clock
	Log   *slog.Logger
}

// Manager knows all guests. Its methods may be used from many goroutines.
type Manager struct {
	opt      Options
	specs    *state.Store[specRecord]
	statuses *state.Store[statusRecord]
	closing  chan struct{} // closed by Close

	mu       sync.Mutex
	guests   map[string]*guest
	promised map[*guest]uint64 // memory given to guests that run
	slots    map[int]*guest
	draining bool // no guest starts any more
	closed   bool
}

// Open loads the guests and finds those again that still run. It starts none.
func Open(opt Options) (*Manager, error) {
	m := &Manager{
		opt:      opt,
		closing:  make(chan struct{}),
		guests:   make(map[string]*guest),
		promised: make(map[*guest]uint64),
		slots:    make(map[int]*guest),
	}
	if err := os.MkdirAll(opt.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("guests: %w", err)
	}
	var err error
	if m.specs, err = state.Open[specRecord](filepath.Join(opt.StateDir, "specs"), opt.Log); err != nil {
		return nil, fmt.Errorf("guests: %w", err)
	}
	if m.statuses, err = state.Open[statusRecord](filepath.Join(opt.StateDir, "status"), opt.Log); err != nil {
		return nil, fmt.Errorf("guests: %w", err)
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("guests: %w", err)
	}
	return m, nil
}

func (m *Manager) newGuest(id string, created time.Time, spec *gozenv1.GuestSpec) *guest {
	dir := filepath.Join(m.opt.RunDir, id)
	return &guest{
		m: m, name: spec.Name, id: id, dir: dir, created: created, spec: spec,
		log:     m.opt.Log.With("guest", spec.Name),
		console: newConsole(filepath.Join(dir, ringFile)),
		inbox:   make(chan func()),
		gone:    make(chan struct{}),
		changed: make(chan struct{}),
		status:  status{state: stopped},
	}
}

// Create records a guest.
func (m *Manager) Create(asked *gozenv1.GuestSpec) (*gozenv1.Guest, error) {
	spec, err := complete(asked, m.opt.HostCPUs, m.opt.HostMemory)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails, as documented
	g := m.newGuest(hex.EncodeToString(raw), m.opt.Clock.Now().UTC(), spec)

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.guests[g.name] != nil {
		return nil, fault.New(fault.Exists, "guest %q: the name is taken", g.name)
	}
	if err := m.checkMACs(spec); err != nil {
		return nil, fmt.Errorf("guest %q: %w", g.name, err)
	}
	if err := m.opt.Images.Claim(g.name, spec.Kernel, spec.Initrd); err != nil {
		return nil, fmt.Errorf("guest %q: %w", g.name, err)
	}
	if err := m.opt.Volumes.Claim(g.name, uses(spec)); err != nil {
		m.opt.Images.Release(g.name)
		return nil, fmt.Errorf("guest %q: %w", g.name, err)
	}
	if err := m.specs.Put(g.name, &specRecord{Version: specVersion, ID: g.id, CreatedAt: g.created, Spec: specJSON{spec}}); err != nil {
		m.opt.Images.Release(g.name)
		m.opt.Volumes.Release(g.name)
		return nil, m.diskError(g.name, err)
	}
	m.guests[g.name] = g
	g.event("created", "", "%d vCPUs, %s", spec.Vcpus, quantity.Bytes(spec.MemoryBytes))
	go g.loop()
	return m.describe(g), nil
}

// checkMACs refuses an address that another NIC has. It is called with mu held.
func (m *Manager) checkMACs(spec *gozenv1.GuestSpec) error {
	taken := make(map[string]string)
	for _, g := range m.guests {
		for _, n := range g.spec.Nics {
			taken[n.Mac] = fmt.Sprintf("of guest %q", g.name)
		}
	}
	for i, n := range spec.Nics {
		if other, ok := taken[n.Mac]; ok {
			return fault.New(fault.Precondition, "NIC %d: MAC address %s: a NIC %s has it", i, n.Mac, other)
		}
		taken[n.Mac] = "of the same guest"
	}
	return nil
}

// List returns all guests in the order of their names.
func (m *Manager) List() []*gozenv1.Guest {
	all := m.all()
	out := make([]*gozenv1.Guest, len(all))
	for i, g := range all {
		out[i] = m.describe(g)
	}
	return out
}

// Get returns the guest.
func (m *Manager) Get(name string) (*gozenv1.Guest, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	return m.describe(g), nil
}

// Start starts the guest and returns when its first vCPU runs.
func (m *Manager) Start(ctx context.Context, name string) (*gozenv1.Guest, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	result := make(chan error, 1)
	if err := g.do(ctx, func() { g.start(result) }); err != nil {
		return nil, err
	}
	select {
	case err := <-result:
		if err != nil {
			return nil, err
		}
		return m.describe(g), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.closing:
		return nil, errClosing
	}
}

// Stop presses the guest's power button and returns when the guest is off, and
// whether it had to be killed after the timeout; 0 means the spec's.
func (m *Manager) Stop(ctx context.Context, name string, timeout time.Duration) (*gozenv1.Guest, bool, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, false, err
	}
	if timeout == 0 {
		timeout = g.spec.StopTimeout.AsDuration()
	}
	killed, err := g.end(ctx, func(result chan<- bool) error { return g.stop(timeout, result) })
	if err != nil {
		return nil, false, err
	}
	return m.describe(g), killed, nil
}

// Kill ends the guest at once and returns when it is gone.
func (m *Manager) Kill(ctx context.Context, name string) (*gozenv1.Guest, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if _, err := g.end(ctx, g.kill); err != nil {
		return nil, err
	}
	return m.describe(g), nil
}

// end runs how in the loop and waits until the guest has ended.
func (g *guest) end(ctx context.Context, how func(chan<- bool) error) (killed bool, err error) {
	result := make(chan bool, 1)
	var refused error
	if err := g.do(ctx, func() { refused = how(result) }); err != nil {
		return false, err
	}
	if refused != nil {
		return false, refused
	}
	select {
	case killed := <-result:
		return killed, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-g.m.closing:
		return false, errClosing
	}
}

// Delete forgets a guest that does not run; with force it is killed before.
func (m *Manager) Delete(ctx context.Context, name string, force bool) error {
	g, err := m.find(name)
	if err != nil {
		return err
	}
	if force {
		if _, err := g.end(ctx, g.kill); err != nil && fault.KindOf(err) != fault.Precondition {
			return err
		}
	}
	var refused error
	if err := g.do(ctx, func() { refused = g.forget() }); err != nil {
		return err
	}
	return refused
}

// forget deletes the guest. It runs in the loop.
func (g *guest) forget() error {
	if g.vm != nil {
		return fault.New(fault.Precondition, "guest %q: is running: stop it first, or delete it by force", g.name)
	}
	m := g.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.specs.Delete(g.name); err != nil {
		return m.diskError(g.name, err)
	}
	if err := m.statuses.Delete(g.name); err != nil {
		g.log.Warn("cannot remove the status of a deleted guest", "err", err)
	}
	delete(m.guests, g.name)
	m.opt.Volumes.Release(g.name)
	m.opt.Images.Release(g.name)
	m.forgetAddresses(g)
	g.console.close()
	if err := removeRunDir(g.dir); err != nil {
		g.log.Warn("cannot remove the run directory of a deleted guest", "err", err)
	}
	g.mu.Lock()
	g.deleted = true
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	g.event("deleted", "", "its volumes stay")
	return nil
}

// Wait returns when the guest is in one of the states.
func (m *Manager) Wait(ctx context.Context, name string, states []gozenv1.GuestState) (*gozenv1.Guest, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if len(states) == 0 {
		return nil, fault.New(fault.Invalid, "guest %q: wait: name a state to wait for", name)
	}
	for {
		g.mu.Lock()
		now, changed, deleted := g.status.state, g.changed, g.deleted
		g.mu.Unlock()
		if deleted {
			return nil, fault.New(fault.NotFound, "guest %q: was deleted", name)
		}
		for _, s := range states {
			if s == now {
				return m.describe(g), nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-m.closing:
			return nil, errClosing
		}
	}
}

// Console attaches to the console of a guest that runs, both ways.
func (m *Manager) Console(name string, replay bool) (*Viewer, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if s := g.snapshot(); s.state == stopped || s.state == crashedS && !s.restarting {
		return nil, fault.New(fault.Precondition, "guest %q: is not running: its last output is in its log", name)
	}
	return g.newViewer(replay, true)
}

// Log reads the retained output of the guest's console, and what follows.
func (m *Manager) Log(name string, follow bool) (*Viewer, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	return g.newViewer(true, follow)
}

// Close lets go of all guests, which go on running.
func (m *Manager) Close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed, m.draining = true, true
	close(m.closing)
	m.mu.Unlock()
	for _, g := range m.all() {
		<-g.gone
	}
}

var errClosing = fault.New(fault.Unavailable, "the host's daemon is ending: ask again in a moment")

func (m *Manager) find(name string) (*guest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.guests[name]; g != nil {
		return g, nil
	}
	return nil, notFound(name)
}

func notFound(name string) error {
	return fault.New(fault.NotFound, "guest %q: there is none of that name", name)
}

func (m *Manager) all() []*guest {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*guest, 0, len(m.guests))
	for _, g := range m.guests {
		out = append(out, g)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

func (m *Manager) isClosing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.draining
}

func (m *Manager) network() (*guestnet.Network, error) {
	if m.opt.Network == nil {
		return nil, fault.New(fault.Unavailable, "network %q: this host has none", DefaultNetwork)
	}
	n, err := m.opt.Network()
	if err != nil {
		return nil, fault.New(fault.Unavailable, "network %q: %w", DefaultNetwork, err)
	}
	return n, nil
}

func (m *Manager) diskError(name string, err error) error {
	return diskError(fmt.Sprintf("guest %q", name), m.opt.StateDir, err)
}

// Leased notes that a NIC was given its address.
func (m *Manager) Leased(mac net.HardwareAddr, addr netip.Addr) {
	for _, g := range m.all() {
		for i, n := range g.spec.Nics {
			if n.Mac == mac.String() {
				g.event("lease", "", "NIC %d has the address %s", i, addr)
			}
		}
	}
}

// forgetAddresses gives back what was leased to a guest that is deleted.
func (m *Manager) forgetAddresses(g *guest) {
	if len(g.spec.Nics) == 0 {
		return
	}
	network, err := m.network()
	if err != nil {
		return // its leases run out by themselves
	}
	for i, n := range g.spec.Nics {
		mac, err := net.ParseMAC(n.Mac)
		if err == nil {
			err = network.Forget(mac)
		}
		if err != nil {
			g.log.Warn("cannot give back the address of a deleted guest", "nic", i, "err", err)
		}
	}
}
