package virtiopci

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/bus"
	"gozen/hypervisor/pci"
	"gozen/hypervisor/platform"
	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

const (
	testFeature  = uint64(1) << 5
	testQueues   = 3
	testQueueMax = 16
	testMemory   = 1 << 20
)

// mirror is a small device: it answers each kick of a queue with an interrupt of
// that queue, and has a configuration space of 8 bytes that the driver may write.
type mirror struct {
	mu     sync.Mutex // for what a test reads while the device runs
	config [8]byte
	kicked [testQueues]bool
	kick   sync.Cond // kicked changed

	active  *virtio.Activation
	waiters []*eventfd.Waiter
	running sync.WaitGroup
	refuse  error // what Activate returns
	resets  int
	closed  bool
}

func newMirror() *mirror {
	d := &mirror{}
	d.kick.L = &d.mu
	return d
}

func (*mirror) ID() virtio.ID        { return virtio.IDEntropy }
func (*mirror) Name() string         { return "mirror0" }
func (*mirror) Features() uint64     { return testFeature | virtio.FeatureRingReset }
func (*mirror) QueueSizes() []uint16 { return []uint16{testQueueMax, testQueueMax, 4} }

func (d *mirror) ReadConfig(off uint32, b []byte) {
	clear(b)
	if off < uint32(len(d.config)) {
		copy(b, d.config[off:])
	}
}

func (d *mirror) WriteConfig(off uint32, b []byte) {
	if off < uint32(len(d.config)) {
		copy(d.config[off:], b)
	}
}

func (d *mirror) Activate(a *virtio.Activation) error {
	if d.active != nil {
		return errors.New("activated twice")
	}
	d.active = a
	if d.refuse != nil {
		return d.refuse
	}
	for i, q := range a.Queues {
		if q.Size == 0 {
			continue
		}
		w, err := eventfd.NewWaiter(q.KickFD)
		if err != nil {
			return err
		}
		d.waiters = append(d.waiters, w)
		d.running.Go(func() {
			for w.Wait() == nil {
				d.mu.Lock()
				d.kicked[i] = true
				d.mu.Unlock()
				d.kick.Broadcast()
				if err := eventfd.Signal(q.CallFD); err != nil {
					a.Fail(err)
				}
			}
		})
	}
	return nil
}

func (d *mirror) Reset() {
	if d.active == nil {
		return
	}
	for _, w := range d.waiters {
		w.Close()
	}
	d.running.Wait()
	d.active, d.waiters = nil, nil
	d.resets++
}

// awaitKick waits until a queue was kicked since the start.
func (d *mirror) awaitKick(queue int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.kicked[queue] {
		d.kick.Wait()
	}
}

func (d *mirror) Counters() map[string]uint64 { return nil }

func (d *mirror) Save() (json.RawMessage, error) {
	if d.active != nil {
		return nil, errors.New("saved while active")
	}
	return json.Marshal(d.config)
}

func (d *mirror) Restore(s json.RawMessage) error { return json.Unmarshal(s, &d.config) }

func (d *mirror) Close() error {
	if d.active != nil {
		return errors.New("closed while active")
	}
	d.closed = true
	return nil
}

// line is an interrupt vector whose messages a test receives.
type line struct {
	fd      int
	open    bool
	message msixMessage
	closed  bool
}

var errBadMessage = errors.New("message to nowhere")

func (l *line) FD() int { return l.fd }

func (l *line) Program(addr uint64, data uint32) error {
	if addr>>20 != platform.LAPICBase>>20 {
		l.open = false
		return errBadMessage
	}
	l.open, l.message = true, msixMessage{addr, data}
	return nil
}

func (l *line) Mask() error { l.open = false; return nil }

func (l *line) Pending() bool {
	p := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && !l.open
}

func (l *line) Close() error {
	if l.closed {
		return errors.New("vector closed twice")
	}
	l.closed = true
	return unix.Close(l.fd)
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
	Cleanup(func())
}

// rig is a mirror behind a transport on a PCI bus, in guest memory.
type rig struct {
	t        tb
	mmio     *bus.Bus
	root     *pci.Root
	dev      *mirror
	tr       *Transport
	lines    []*line // the configuration's first, then the queues'
	bells    map[uint64]int
	errs     []error
	noBell   error // what connecting a doorbell returns
	bar      uint64
	bodyAt   map[uint8]int // offsets of capabilities, by virtio's type; MSI-X is 0
	errsLock sync.Mutex
}

func newRig(t tb, changes ...func(*rig, *Config)) *rig {
	t.Helper()
	r := &rig{t: t, mmio: bus.New(), dev: newMirror(), bells: map[uint64]int{}, bar: platform.PCIWindow64Base}
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, testMemory); err != nil {
		t.Fatal(err)
	}
	mem, err := guestmem.Map(fd, []guestmem.Region{{Size: testMemory}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Device: r.dev, Memory: mem,
		NewVector: func() (Vector, error) {
			fd, err := eventfd.New()
			l := &line{fd: fd}
			r.lines = append(r.lines, l)
			return l, err
		},
		Doorbell: r.doorbell,
		OnError: func(err error) {
			r.errsLock.Lock()
			defer r.errsLock.Unlock()
			r.errs = append(r.errs, err)
		},
	}
	for _, change := range changes {
		change(r, &cfg)
	}
	if r.tr, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if r.root, err = pci.NewRoot(r.mmio); err != nil {
		t.Fatal(err)
	}
	if err := r.root.Attach(1, r.tr.Function()); err != nil {
		t.Fatal(err)
	}
	r.findCapabilities()
	t.Cleanup(func() {
		if err := errors.Join(r.tr.Close(), r.root.Close()); err != nil {
			t.Error(err)
		}
		if !r.dev.closed || len(r.bells) != 0 {
			t.Errorf("after Close: device closed %v, doorbells %v", r.dev.closed, r.bells)
		}
		for _, l := range r.lines {
			if !l.closed {
				t.Error("after Close: a vector is open")
			}
		}
		mem.Unmap()
	})
	r.config(4, 2, pci.CommandMemory|pci.CommandBusMaster)
	return r
}

func (r *rig) doorbell(addr uint64, fd int, on bool) error {
	if _, there := r.bells[addr]; there == on {
		r.t.Errorf("doorbell at %#x: on %v, was %v", addr, on, there)
	}
	if !on {
		delete(r.bells, addr)
		return nil
	}
	r.bells[addr] = fd
	return r.noBell
}

func (r *rig) findCapabilities() {
	r.bodyAt = map[uint8]int{}
	c := r.tr.Function().Config(0, 256)
	for off := c[0x34]; off != 0; off = c[off+1] {
		kind := uint8(0)
		if c[off] == pci.CapVendor {
			kind = c[off+3]
		}
		if _, twice := r.bodyAt[kind]; twice {
			r.t.Errorf("two capabilities of type %d", kind)
		}
		r.bodyAt[kind] = int(off)
	}
}

// config writes to the function's configuration space by ECAM.
func (r *rig) config(off, n int, v uint32) {
	b := binary.LittleEndian.AppendUint32(nil, v)
	if !r.mmio.Write(platform.ECAMBase+1<<15+uint64(off), b[:n]) {
		r.t.Fatal("nobody took a configuration write")
	}
}

func (r *rig) configRead(off, n int) uint32 {
	var b [4]byte
	copy(b[:], r.tr.Function().Config(off, n))
	return binary.LittleEndian.Uint32(b[:])
}

func (r *rig) write(off uint64, n int, v uint64) {
	b := binary.LittleEndian.AppendUint64(nil, v)
	if !r.mmio.Write(r.bar+off, b[:n]) {
		r.t.Fatalf("nobody took a write to the BAR at %#x", off)
	}
}

func (r *rig) read(off uint64, n int) uint64 {
	var b [8]byte
	if !r.mmio.Read(r.bar+off, b[:n]) {
		r.t.Fatalf("nobody took a read of the BAR at %#x", off)
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (r *rig) status() uint8     { return uint8(r.read(regStatus, 1)) }
func (r *rig) setStatus(v uint8) { r.write(regStatus, 1, uint64(v)) }
func (r *rig) choose(q int)      { r.write(regQueueSelect, 2, uint64(q)) }
func (r *rig) failures() []error {
	r.errsLock.Lock()
	defer r.errsLock.Unlock()
	return slices.Clone(r.errs)
}
func (r *rig) ring(q int) uint64  { return 0x1000 * uint64(q+1) }
func (r *rig) entry(i int) uint64 { return tableOff + uint64(i)*msixEntrySize }

// accept offers the driver's features.
func (r *rig) accept(features uint64) {
	for i := range uint64(2) {
		r.write(regDriverFeatureSelect, 4, i)
		r.write(regDriverFeature, 4, features>>(32*i)&0xffff_ffff)
	}
}

// setQueue sets a queue up and enables it.
func (r *rig) setQueue(q int, size uint16, desc, driver, device uint64) {
	r.choose(q)
	r.write(regQueueSize, 2, uint64(size))
	for reg, v := range map[uint64]uint64{regQueueDesc: desc, regQueueDriver: driver, regQueueDevice: device} {
		r.write(reg, 4, v&0xffff_ffff)
		r.write(reg+4, 4, v>>32)
	}
	r.write(regQueueEnable, 2, 1)
}

// bringUp does what a driver does up to and including DRIVER_OK.
func (r *rig) bringUp() {
	r.t.Helper()
	r.setStatus(0)
	r.setStatus(statusAcknowledge)
	r.setStatus(statusAcknowledge | statusDriver)
	r.accept(virtio.FeatureVersion1 | testFeature)
	r.setStatus(statusAcknowledge | statusDriver | statusFeaturesOK)
	for q, size := range []uint16{testQueueMax, 8, 4} {
		base := r.ring(q)
		r.setQueue(q, size, base, base+0x400, base+0x800)
	}
	r.setStatus(statusAcknowledge | statusDriver | statusFeaturesOK | statusDriverOK)
	if got := r.status(); got != 0xf {
		r.t.Fatalf("status %#x after bringing the device up: %v", got, r.tr.Err())
	}
}

// enableMSIX turns MSI-X on with an entry for each source, unmasked.
func (r *rig) enableMSIX() {
	r.config(r.bodyAt[0]+2, 2, msixEnable)
	for i := range testQueues + 1 {
		r.write(r.entry(i), 8, platform.LAPICBase)
		r.write(r.entry(i)+8, 8, uint64(0x40+i))
	}
	r.write(regConfigVector, 2, 0)
	for q := range testQueues {
		r.choose(q)
		r.write(regQueueVector, 2, uint64(q+1))
	}
}

func (r *rig) wantError(t tb, part string) {
	t.Helper()
	errs := r.failures()
	if len(errs) != 1 || r.status()&statusNeedsReset == 0 || r.tr.Err() == nil {
		t.Fatalf("errors %v, status %#x, Err %v: want one error and NEEDS_RESET", errs, r.status(), r.tr.Err())
	}
	// Whoever is told knows the device.
	if got := errs[0].Error(); strings.Contains(got, "mirror0") || !strings.Contains(got, part) {
		t.Errorf("error %q, want %q in it, and not the device's name", got, part)
	}
}
