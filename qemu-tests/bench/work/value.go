package work

import (
	"fmt"
	"math"
	"time"

	"gozen/qemu-tests/bench/measure"
)

// Value is what a workload found: a value of a measure of the catalogue, in its
// unit; for CPU workloads in nanoseconds an operation, which the reader divides by
// the host's.
type Value struct {
	Measure string
	Value   float64
}

// Sample is the value as a sample of that subject.
func (v Value) Sample(subject string) measure.Sample {
	return measure.Sample{Measure: v.Measure, Subject: subject, Value: v.Value}
}

// batches is how many batches fit in the time given to a workload.
const batches = 8

// best runs batches of operations for about that time and returns the nanoseconds
// an operation of the best batch. It first finds how many operations make a batch,
// which may take as long again. run does n operations.
func best(window time.Duration, run func(n int) error) (float64, error) {
	batch := window / batches
	n := 1
	for {
		start := time.Now()
		if err := run(n); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if took >= batch/2 {
			break
		}
		// At most tenfold, because the first operations are slower than the others.
		n = min(10*n, max(2*n, int(float64(n)*float64(batch)/float64(max(took, 1)))))
	}
	found := math.Inf(1)
	for i, start := 0, time.Now(); i < 2 || time.Since(start) < window; i++ {
		began := time.Now()
		if err := run(n); err != nil {
			return 0, err
		}
		found = min(found, float64(time.Since(began))/float64(n))
	}
	return found, nil
}

// cost is a workload with its measure.
type cost struct {
	measure string
	run     func(n int) error
}

// value runs the workload for about that time.
func (c cost) value(window time.Duration) (Value, error) {
	ns, err := best(window, c.run)
	if err != nil {
		return Value{}, fmt.Errorf("%s: %w", c.measure, err)
	}
	return Value{c.measure, ns}, nil
}
