package supervisor

import "time"

// Delays between starts of a program that keeps ending.
const (
	firstDelay  = 500 * time.Millisecond
	longestWait = 30 * time.Second
	// steadyRun is how long a program must run for its earlier ends to be forgotten.
	steadyRun = time.Minute
)

// backoff says how long to wait before a program is started again.
type backoff struct {
	last time.Duration
}

// next returns the delay after a run of the given length.
func (b *backoff) next(ran time.Duration) time.Duration {
	switch {
	case ran >= steadyRun || b.last == 0:
		b.last = firstDelay
	default:
		b.last = min(2*b.last, longestWait)
	}
	return b.last
}
