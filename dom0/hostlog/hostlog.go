package hostlog

import (
	"context"
	"sync"
)

// Buffer is an io.Writer that keeps the last bytes written to it. Its methods may
// be used from many goroutines.
type Buffer struct {
	mu    sync.Mutex
	data  []byte // the last bytes, in order
	limit int
	total uint64        // bytes ever written
	grown chan struct{} // closed at the next write
}

// New returns a buffer that keeps limit bytes.
func New(limit int) *Buffer {
	return &Buffer{limit: limit, grown: make(chan struct{})}
}

// Write appends p and never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += uint64(len(p))
	b.data = append(b.data, p...)
	// Cut only when twice the limit is held, so that bytes are moved rarely.
	if len(b.data) > 2*b.limit {
		b.data = append(b.data[:0], b.data[len(b.data)-b.limit:]...)
	}
	close(b.grown)
	b.grown = make(chan struct{})
	return len(p), nil
}

// Read returns what is kept from byte number from on, the number of the byte
// after it, and a channel that is closed when there is more.
func (b *Buffer) Read(from uint64) (data []byte, next uint64, more <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := uint64(min(len(b.data), b.limit))
	from = max(from, b.total-kept)
	if from < b.total {
		data = append(data, b.data[uint64(len(b.data))-(b.total-from):]...)
	}
	return data, b.total, b.grown
}

// Copy hands what is kept, oldest first, to send, and with follow what comes
// after it until ctx ends.
func (b *Buffer) Copy(ctx context.Context, follow bool, send func([]byte) error) error {
	next := uint64(0)
	for {
		data, n, more := b.Read(next)
		next = n
		if len(data) > 0 {
			if err := send(data); err != nil {
				return err
			}
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}
