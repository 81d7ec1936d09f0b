package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

// crowd is how many guests the density measures start.
const crowd = 8

// density starts guests one after another, and at once.
func (h *host) density(ctx context.Context, s protocol.Step, a *answer) error {
	sequential, err := h.crowd(ctx, s, func(start func() error) error {
		for range crowd {
			if err := start(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "density.sequential", Subject: string(s.Subject), Value: milliseconds(sequential)})
	parallel, err := h.crowd(ctx, s, func(start func() error) error {
		errs := make([]error, crowd)
		var wg sync.WaitGroup
		for i := range crowd {
			wg.Go(func() { errs[i] = start() })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	a.sample(measure.Sample{Measure: "density.parallel", Subject: string(s.Subject), Value: milliseconds(parallel)})
	return nil
}

// crowd has run start guests, all of which run on until the last is up.
func (h *host) crowd(ctx context.Context, s protocol.Step, run func(start func() error) error) (time.Duration, error) {
	var mu sync.Mutex
	var guests []*guest
	defer func() {
		for _, g := range guests {
			g.stop()
		}
	}()
	m := small(s)
	m.memoryMiB = 128
	began := time.Now()
	err := run(func() error {
		g, err := startGuest(ctx, s, m)
		if err != nil {
			return err
		}
		mu.Lock()
		guests = append(guests, g)
		mu.Unlock()
		return g.until(ctx, "userspace", isUp, nil)
	})
	return time.Since(began), err
}
