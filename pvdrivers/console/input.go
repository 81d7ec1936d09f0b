package console

import (
	"context"
	"errors"
	"sync"
)

// InputCapacity is how many bytes of input wait for the guest at most.
const InputCapacity = 64 << 10

// ErrClosed is returned by WriteInput on a closed device.
var ErrClosed = errors.New("console is closed")

// input is a bounded queue of bytes.
type input struct {
	mu     sync.Mutex
	data   []byte
	closed bool
	// Each channel holds one token when what it is named after may be so. A token
	// can be stale, so whoever takes one looks again.
	filled, freed chan struct{}
}

func newInput() *input {
	return &input{filled: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

func post(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default: // there is one already
	}
}

// write appends all of p, waiting for room. It returns how much was taken when
// ctx ends or the queue is closed first.
func (in *input) write(ctx context.Context, p []byte) (n int, err error) {
	for {
		in.mu.Lock()
		if in.closed {
			in.mu.Unlock()
			post(in.freed) // for other writers
			return n, ErrClosed
		}
		room := min(InputCapacity-len(in.data), len(p)-n)
		in.data = append(in.data, p[n:n+room]...)
		left := InputCapacity - len(in.data)
		in.mu.Unlock()
		n += room
		if room > 0 {
			post(in.filled)
		}
		if left > 0 {
			post(in.freed) // another writer may go on
		}
		if n == len(p) {
			return n, nil
		}
		select {
		case <-in.freed:
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
}

// wait returns true when there is input and false when stop is closed first.
func (in *input) wait(stop <-chan struct{}) bool {
	for {
		in.mu.Lock()
		n := len(in.data)
		in.mu.Unlock()
		if n > 0 {
			return true
		}
		select {
		case <-in.filled:
		case <-stop:
			return false
		}
	}
}

// take moves input to segs and returns how many bytes.
func (in *input) take(segs [][]byte) int {
	in.mu.Lock()
	n := 0
	for _, s := range segs {
		if n == len(in.data) {
			break
		}
		n += copy(s, in.data[n:])
	}
	in.data = append(in.data[:0], in.data[n:]...)
	in.mu.Unlock()
	if n > 0 {
		post(in.freed)
	}
	return n
}

// queued returns a copy of what waits for the guest.
func (in *input) queued() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]byte(nil), in.data...)
}

func (in *input) set(data []byte) {
	in.mu.Lock()
	in.data = append(in.data[:0], data...)
	in.mu.Unlock()
	post(in.filled)
}

func (in *input) close() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	post(in.freed)
}
