package terminal

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// Raw is a terminal in raw mode.
type Raw struct {
	fd      int
	restore func()
	stop    func()
}

// MakeRaw puts a terminal into raw mode until Restore is called. When the process
// was stopped and goes on, raw mode is set again.
//
// Restore runs on the caller's defer. For panics on other goroutines, each must
// defer Guard.
func MakeRaw(f *os.File) (*Raw, error) {
	fd := int(f.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	r := &Raw{fd: fd, restore: sync.OnceFunc(func() { _ = term.Restore(fd, state) })}
	continued := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(continued, syscall.SIGCONT)
	r.stop = sync.OnceFunc(func() { signal.Stop(continued); close(done) })
	go func() {
		defer r.Guard()
		for {
			select {
			case <-done:
				return
			case <-continued:
				// A terminal that is gone ends the input soon.
				_, _ = term.MakeRaw(fd)
			}
		}
	}()
	return r, nil
}

// Restore sets the terminal back to what it was. Further calls do nothing.
func (r *Raw) Restore() {
	r.stop()
	r.restore()
}

// Guard restores the terminal when the goroutine panics, and lets the panic go
// on; without it the message would be drawn over a raw terminal that stays so.
func (r *Raw) Guard() {
	if p := recover(); p != nil {
		r.restore()
		panic(p)
	}
}

// Sizes returns the size of a terminal now and whenever it changes, as columns
// and rows, until stop is called.
func Sizes(f *os.File) (sizes <-chan [2]int, stop func()) {
	out := make(chan [2]int, 1)
	changed := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	changed <- syscall.SIGWINCH
	go func() {
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			columns, rows, err := term.GetSize(int(f.Fd()))
			if err != nil {
				continue
			}
			select {
			case out <- [2]int{columns, rows}:
			case <-done:
				return
			}
		}
	}()
	return out, sync.OnceFunc(func() { signal.Stop(changed); close(done) })
}
