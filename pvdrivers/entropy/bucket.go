package entropy

import (
	"math"
	"math/bits"
	"time"
)

// bucket is a token bucket, one token a byte. It starts full.
type bucket struct {
	rate uint64 // tokens a second
	size uint64 // tokens at most

	tokens uint64
	// remainder is what elapsed time has earned beyond tokens, in units of a
	// billionth of a token, so that no refill is rounded away.
	remainder uint64
	last      time.Time
}

const billion = uint64(time.Second)

func newBucket(rate, size uint64, now time.Time) *bucket {
	return &bucket{rate: rate, size: size, tokens: size, last: now}
}

// take removes up to want tokens and returns how many there were. With none it
// returns 0 and how long it takes until there are want of them, or a full
// bucket if that is less.
func (b *bucket) take(want uint64, now time.Time) (got uint64, wait time.Duration) {
	b.refill(now)
	if got = min(want, b.tokens); got > 0 {
		b.tokens -= got
		return got, 0
	}
	// ceil((tokens * 1e9 - remainder) / rate), so that the wait is not too short.
	hi, lo := bits.Mul64(min(want, b.size), billion)
	lo, borrow := bits.Sub64(lo, b.remainder, 0)
	hi -= borrow
	if hi >= b.rate {
		return 0, math.MaxInt64
	}
	q, r := bits.Div64(hi, lo, b.rate)
	if r > 0 {
		q++
	}
	return 0, time.Duration(min(q, math.MaxInt64))
}

func (b *bucket) refill(now time.Time) {
	elapsed := now.Sub(b.last)
	if elapsed <= 0 {
		return
	}
	b.last = now
	hi, lo := bits.Mul64(uint64(elapsed), b.rate)
	lo, carry := bits.Add64(lo, b.remainder, 0)
	hi += carry
	if hi >= billion {
		b.tokens, b.remainder = b.size, 0
		return
	}
	earned, remainder := bits.Div64(hi, lo, billion)
	if earned >= b.size-b.tokens {
		b.tokens, b.remainder = b.size, 0
		return
	}
	b.tokens, b.remainder = b.tokens+earned, remainder
}
