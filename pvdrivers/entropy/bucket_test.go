package entropy

import (
	"math"
	"math/bits"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The promise: over any time, a guest gets rate × time bytes plus what the full
// bucket held at the start, and with enough demand not less, however odd the
// moments at which it asks.
func TestBucketKeepsItsPromise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Uint64Range(2, 1<<34).Draw(t, "rate")
		now := time.Unix(1000, 0)
		start := now
		b := newBucket(rate, rate, now)
		got, _ := b.take(rate, now) // a full bucket earns nothing
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			// Never so long that the bucket fills: what overflows is rightly lost.
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second/2)).Draw(t, "pause")))
			for {
				n, wait := b.take(rate, now)
				if n == 0 {
					if wait <= 0 {
						t.Fatalf("nothing to have, yet a wait of %v", wait)
					}
					break
				}
				got += n
			}
		}
		hi, lo := bits.Mul64(uint64(now.Sub(start)), rate)
		earned, _ := bits.Div64(hi, lo, uint64(time.Second))
		if want := rate + earned; got != want {
			t.Fatalf("%d tokens in %v at %d a second, want %d", got, now.Sub(start), rate, want)
		}
	})
}

func TestBucketWaitIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Uint64Range(1, 1<<34).Draw(t, "rate")
		want := rapid.Uint64Range(1, 1<<34).Draw(t, "want")
		now := time.Unix(0, 0)
		b := newBucket(rate, rate, now)
		b.take(rate, now)
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)/int64(rate)).Draw(t, "since")))
		if n, wait := b.take(want, now); n == 0 {
			now = now.Add(wait)
			if n, _ = b.take(want, now); n != min(want, rate) {
				t.Fatalf("after a wait of %v: %d of %d tokens", wait, n, min(want, rate))
			}
		}
	})
}

func TestBucketExtremes(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBucket(1, 1, now)
	if n, _ := b.take(100, now); n != 1 {
		t.Errorf("full bucket gave %d", n)
	}
	if n, wait := b.take(100, now); n != 0 || wait != time.Second {
		t.Errorf("%d, wait %v", n, wait)
	}
	if n, _ := b.take(1, now.Add(-time.Hour)); n != 0 {
		t.Error("a clock that goes back gave tokens")
	}
	if n, _ := b.take(5, now.Add(math.MaxInt64)); n != 1 {
		t.Errorf("after ages: %d", n)
	}
	b = newBucket(math.MaxUint64, math.MaxUint64, now)
	b.take(math.MaxUint64, now)
	if n, _ := b.take(math.MaxUint64, now.Add(time.Hour)); n != math.MaxUint64 {
		t.Errorf("largest rate after an hour: %d", n)
	}
	if n, wait := b.take(1, now.Add(time.Hour)); n != 0 || wait != 1 {
		t.Errorf("largest rate: %d, wait %v", n, wait)
	}
}
