package qemu

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
)

// Serial is all that the machine wrote to its serial console.
type Serial struct {
	mu     sync.Mutex
	data   []byte
	closed bool
	wake   chan struct{} // closed and replaced when data or closed change
	copies []io.Writer
}

func newSerial(copies ...io.Writer) *Serial {
	return &Serial{wake: make(chan struct{}), copies: copies}
}

// fill reads until the machine is gone.
func (s *Serial) fill(r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		s.mu.Lock()
		s.data = append(s.data, buf[:n]...)
		s.closed = err != nil
		close(s.wake)
		s.wake = make(chan struct{})
		s.mu.Unlock()
		for _, w := range s.copies {
			// A full disk or closed terminal must not stop the machine.
			_, _ = w.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// Text returns the output so far.
func (s *Serial) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.data)
}

// Tail returns the last n bytes of output at most.
func (s *Serial) Tail(n int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.data[max(0, len(s.data)-n):])
}

// Len returns the number of bytes so far, a position for WaitFor.
func (s *Serial) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.data)
}

// WaitFor waits until the output from position from on matches, and returns the
// match with its groups. It fails when the machine is gone or ctx ends.
func (s *Serial) WaitFor(ctx context.Context, from int, pattern *regexp.Regexp) ([]string, error) {
	for {
		s.mu.Lock()
		match := pattern.FindSubmatch(s.data[min(from, len(s.data)):])
		closed, wake := s.closed, s.wake
		s.mu.Unlock()
		if match != nil {
			groups := make([]string, len(match))
			for i, g := range match {
				groups[i] = string(g)
			}
			return groups, nil
		}
		if closed {
			return nil, fmt.Errorf("qemu: the machine ended before its console showed %q; it ended with:\n%s", pattern, s.Tail(2000))
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, fmt.Errorf("qemu: console did not show %q: %w; it ends with:\n%s", pattern, ctx.Err(), s.Tail(2000))
		}
	}
}

// Save writes the output so far to a file.
func (s *Serial) Save(file string) error {
	s.mu.Lock()
	data := s.data
	s.mu.Unlock()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("qemu: save the console: %w", err)
	}
	return nil
}
