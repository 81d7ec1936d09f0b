package virtiopci

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/pci"
	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

// Vector is an interrupt message behind an eventfd, as irq.Vector.
type Vector interface {
	// FD is the nonblocking eventfd whose signal sends the message.
	FD() int
	// Program sets the message and lets it through, also for signals that came
	// while it was masked.
	Program(addr uint64, data uint32) error
	// Mask holds signals back in the eventfd.
	Mask() error
	// Pending says whether a signal is held back.
	Pending() bool
	// Close releases the vector.
	Close() error
}

// Config is what a Transport is made of.
type Config struct {
	Device virtio.Device
	Memory *guestmem.Memory
	// NewVector makes an interrupt vector, masked.
	NewVector func() (Vector, error)
	// Doorbell connects (on) or disconnects guest writes of any length and value at
	// addr with the eventfd.
	Doorbell func(addr uint64, fd int, on bool) error
	// OnError is told why the device went to error, without the device's name, from
	// any goroutine and perhaps with the Transport locked: it must not call back. It
	// may be nil.
	OnError func(err error)
}

// Transport is a virtio device as a PCI function.
type Transport struct {
	cfg      Config
	function *pci.Function
	offered  uint64
	msixCap  int // offset in configuration space
	config   source
	queues   []*queue

	events // what devices change without the lock

	mu             sync.Mutex // guards everything below, and calls to the Device
	status         uint8      // without NEEDS_RESET, which the attempt holds
	attempt        *attempt
	active         bool // the device was activated and not reset since
	paused         bool // between Pause or Restore and Resume
	deviceSelect   uint32
	driverSelect   uint32
	driverFeatures uint64
	queueSelect    uint16
	doorbellBase   uint64 // address of the BAR while doorbells are connected
	msix           msixTable
}

// queue is a virtqueue as the driver sees it.
type queue struct {
	source
	max                  uint16
	size                 uint16
	enabled              bool
	desc, driver, device uint64
	kick                 int // eventfd
	// Where a device goes on that is activated; 0 on a fresh start.
	nextAvail, nextUsed uint16
}

// New makes a PCI function of the device. Attach Function to the root complex.
func New(cfg Config) (_ *Transport, err error) {
	sizes := cfg.Device.QueueSizes()
	name := cfg.Device.Name()
	if len(sizes) > maxQueues {
		return nil, fmt.Errorf("%s: %d queues, at most %d fit", name, len(sizes), maxQueues)
	}
	t := &Transport{
		cfg:     cfg,
		offered: cfg.Device.Features() | virtio.FeatureVersion1,
		msix:    newMSIXTable(len(sizes) + 1),
	}
	// Nothing here stops and starts a single queue.
	t.offered &^= virtio.FeatureRingReset
	defer func() {
		if err != nil {
			_ = t.release()
		}
	}()
	if t.config.vector, err = newVector(cfg); err != nil {
		return nil, fmt.Errorf("%s: configuration interrupt: %w", name, err)
	}
	for i, size := range sizes {
		if size == 0 || size&(size-1) != 0 || size > 32768 {
			return nil, fmt.Errorf("%s: queue %d: size %d is not a power of two up to 32768", name, i, size)
		}
		q := &queue{max: size, kick: -1}
		t.queues = append(t.queues, q)
		if q.kick, err = eventfd.New(); err != nil {
			return nil, fmt.Errorf("%s: queue %d: %w", name, i, err)
		}
		if q.vector, err = newVector(cfg); err != nil {
			return nil, fmt.Errorf("%s: queue %d: interrupt: %w", name, i, err)
		}
	}
	t.clear()
	if err := t.buildFunction(); err != nil {
		return nil, err
	}
	return t, nil
}

// newVector makes sure that a failed call leaves a nil interface.
func newVector(cfg Config) (Vector, error) {
	v, err := cfg.NewVector()
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Function is the PCI function to attach.
func (t *Transport) Function() *pci.Function { return t.function }

// Device is the device behind the transport.
func (t *Transport) Device() virtio.Device { return t.cfg.Device }

// Err says why the device is in error, or nil. A reset by the driver clears it.
func (t *Transport) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attempt.err()
}

// Close stops the device and releases everything. The guest must not run any
// more.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	t.setDoorbells(0)
	if err := errors.Join(t.cfg.Device.Close(), t.release()); err != nil {
		return t.wrap(err)
	}
	return nil
}

// release closes the descriptors of the transport itself.
func (t *Transport) release() error {
	var errs []error
	if t.config.vector != nil {
		errs = append(errs, t.config.vector.Close())
		t.config.vector = nil
	}
	for _, q := range t.queues {
		if q.vector != nil {
			errs = append(errs, q.vector.Close())
		}
		if q.kick >= 0 {
			errs = append(errs, unix.Close(q.kick))
		}
	}
	t.queues = nil
	return errors.Join(errs...)
}

// clear sets all registers to what they are after a reset.
func (t *Transport) clear() {
	t.status = 0
	t.attempt = &attempt{t: t}
	t.deviceSelect, t.driverSelect, t.driverFeatures, t.queueSelect = 0, 0, 0, 0
	t.events.isr.Store(0)
	t.config.entry = noVector
	for _, q := range t.queues {
		q.entry = noVector
		q.size, q.enabled = q.max, false
		q.desc, q.driver, q.device = 0, 0, 0
		q.nextAvail, q.nextUsed = 0, 0
	}
}

// setDoorbells connects every queue's notification register of the BAR at base,
// after disconnecting where they were; 0 only disconnects. A kick that finds no
// doorbell still arrives by the BAR, slower, so an error stops nothing, but it is
// reported.
func (t *Transport) setDoorbells(base uint64) {
	for _, set := range []struct {
		base uint64
		on   bool
	}{{t.doorbellBase, false}, {base, true}} {
		if set.base == 0 {
			continue
		}
		for i, q := range t.queues {
			addr := set.base + notifyOff + uint64(i)*notifyMultiplier
			if err := t.cfg.Doorbell(addr, q.kick, set.on); err != nil && set.on {
				t.attempt.fail(fmt.Errorf("queue %d: doorbell at %#x: %w", i, addr, err))
			}
		}
	}
	t.doorbellBase = base
}

// signal makes an eventfd of the transport readable.
func signal(fd int) {
	// It fails for a descriptor that is no eventfd, which these are.
	_ = eventfd.Signal(fd)
}

// drain takes the signals out of an eventfd and says whether there were any.
func drain(fd int) bool {
	n, err := eventfd.Drain(fd)
	return err == nil && n > 0
}
