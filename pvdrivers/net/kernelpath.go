package net

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
)

// vhostFeatures are the features that vhost-net has to know of; the others are
// between the guest and the tap.
const vhostFeatures = virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1 | featureMrgRxbuf

var errRing = errors.New("vhost-net found the ring broken")

// kernelPath has vhost-net move the frames.
type kernelPath struct {
	dev     *Device
	fail    func(error)
	setUp   [queueCount]bool // the kernel has the queue
	resumed []virtio.Queue   // queues that go on from a saved position
	errFDs  [queueCount]int
	watch   [queueCount]*eventfd.Waiter
	running sync.WaitGroup
}

func newKernelPath(d *Device, a *virtio.Activation) (_ path, err error) {
	p := &kernelPath{dev: d, fail: a.Fail, errFDs: [queueCount]int{-1, -1}}
	defer func() {
		if err != nil {
			_, stopErr := p.stop()
			err = errors.Join(err, stopErr)
		}
	}()
	if err := d.vhost.SetFeatures(a.Features & vhostFeatures); err != nil {
		return nil, err
	}
	if err := d.vhost.SetMemory(a.Memory); err != nil {
		return nil, err
	}
	for i, q := range a.Queues {
		if q.Size == 0 {
			continue
		}
		if err := d.vhost.SetQueue(i, a.Memory, q); err != nil {
			return nil, err
		}
		p.setUp[i] = true
		if q.NextAvail != 0 || q.NextUsed != 0 {
			p.resumed = append(p.resumed, q)
		}
		if p.errFDs[i], err = eventfd.New(); err != nil {
			return nil, err
		}
		if err := d.vhost.SetQueueError(i, p.errFDs[i]); err != nil {
			return nil, err
		}
		if p.watch[i], err = eventfd.NewWaiter(p.errFDs[i]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *kernelPath) start() error {
	for i, up := range p.setUp {
		if !up {
			continue
		}
		if err := p.dev.vhost.SetNetBackend(i, p.dev.tap); err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
		p.running.Go(func() {
			if p.watch[i].Wait() == nil {
				p.fail(fmt.Errorf("queue %d: %w", i, errRing))
			}
		})
	}
	for _, q := range p.resumed {
		// Either notification may have been lost with the old transport.
		if err := errors.Join(eventfd.Signal(q.KickFD), eventfd.Signal(q.CallFD)); err != nil {
			return err
		}
	}
	return nil
}

func (p *kernelPath) stop() (virtio.Positions, error) {
	at := make(virtio.Positions, queueCount)
	var errs []error
	for i, up := range p.setUp {
		if !up {
			continue
		}
		// After this the kernel does not touch the queue.
		errs = append(errs, p.dev.vhost.SetNetBackend(i, vhost.NoFile))
		base, err := p.dev.vhost.QueueBase(i)
		errs = append(errs, err, p.dev.vhost.SetQueueError(i, vhost.NoFile))
		// vhost-net returns a buffer before it takes the next, so both indices agree.
		at[i] = virtio.Position{Avail: base, Used: base}
	}
	for i, w := range p.watch {
		if w != nil {
			w.Close()
		}
		if p.errFDs[i] >= 0 {
			errs = append(errs, unix.Close(p.errFDs[i]))
		}
	}
	p.running.Wait()
	return at, errors.Join(errs...)
}

// notifications are between guest and kernel here.
func (p *kernelPath) notifications() (kicks, calls uint64) { return 0, 0 }
