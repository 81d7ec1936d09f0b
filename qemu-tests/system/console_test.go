//go:build system

package system

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// A console is an attached guest console, read by a goroutine into a buffer that
// tests search.
type console struct {
	t      *testing.T
	guest  string
	stream *connect.BidiStreamForClient[gozenv1.ConsoleRequest, gozenv1.ConsoleResponse]
	cancel context.CancelFunc

	mu    sync.Mutex
	text  []byte
	seen  int // everything before was matched by an expect
	err   error
	fresh chan struct{} // closed and renewed when text or err changes
}

// attach opens the guest's console, with what it printed before.
func (h *host) attach(t *testing.T, guest string) *console {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &console{t: t, guest: guest, cancel: cancel, fresh: make(chan struct{})}
	c.stream = h.guests.Console(ctx)
	if err := c.stream.Send(&gozenv1.ConsoleRequest{Name: guest, Replay: true}); err != nil {
		cancel()
		t.Fatalf("attach to the console of %s: %v", guest, err)
	}
	go c.read()
	t.Cleanup(c.close)
	return c
}

func (c *console) close() { c.cancel() }

func (c *console) read() {
	for {
		m, err := c.stream.Receive()
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else {
			c.text = append(c.text, m.GetData()...)
		}
		close(c.fresh)
		c.fresh = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// expect waits until the console shows the expression after what was matched
// before, and returns the match with its groups.
func (c *console) expect(expr string, timeout time.Duration) []string {
	c.t.Helper()
	m, err := c.wait(regexp.MustCompile(expr), timeout)
	if err != nil {
		c.t.Fatalf("console of %s: %v", c.guest, err)
	}
	return m
}

func (c *console) wait(re *regexp.Regexp, timeout time.Duration) ([]string, error) {
	deadline := time.After(timeout)
	for {
		c.mu.Lock()
		rest, fresh, err := c.text[c.seen:], c.fresh, c.err
		if loc := re.FindSubmatchIndex(rest); loc != nil {
			var groups []string
			for _, g := range re.FindSubmatch(rest) {
				groups = append(groups, string(g))
			}
			c.seen += loc[1]
			c.mu.Unlock()
			return groups, nil
		}
		tail := string(rest[max(0, len(rest)-4000):])
		c.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("waiting for %q: the console ended: %v; it showed:\n%s", re, err, tail)
		}
		select {
		case <-fresh:
		case <-deadline:
			return nil, fmt.Errorf("no %q within %v; it showed:\n%s", re, timeout, tail)
		}
	}
}

func (c *console) send(text string) {
	c.t.Helper()
	if err := c.stream.Send(&gozenv1.ConsoleRequest{Data: []byte(text)}); err != nil {
		c.t.Fatalf("console of %s: send: %v", c.guest, err)
	}
}

const commandTime = 3 * time.Minute

var answer = regexp.MustCompile(`(?s)^(.*?)(?:^|\n)(ok|error: [^\n]*)\r?\n`)

// do gives the test guest a command and returns what it printed. An answer
// "error" fails the test.
func (c *console) do(format string, args ...any) string {
	c.t.Helper()
	out, err := c.try(format, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// try is do that returns the guest's error.
func (c *console) try(format string, args ...any) (string, error) {
	c.t.Helper()
	line := fmt.Sprintf(format, args...)
	c.mu.Lock()
	c.seen = len(c.text)
	c.mu.Unlock()
	c.send(line + "\n")
	m, err := c.wait(answer, commandTime)
	if err != nil {
		c.t.Fatalf("guest %s: %s: %v", c.guest, line, err)
	}
	if m[2] != "ok" {
		return m[1], fmt.Errorf("guest %s: %s: %s", c.guest, line, m[2])
	}
	return strings.ReplaceAll(m[1], "\r", ""), nil
}

// showed waits until the console has shown the expression at any time.
func (c *console) showed(expr string, timeout time.Duration) {
	c.t.Helper()
	c.mu.Lock()
	c.seen = 0
	c.mu.Unlock()
	c.expect(expr, timeout)
}

// ready waits until the test guest takes commands.
func (c *console) ready() *console {
	c.t.Helper()
	c.expect(`testguest: ready`, bootTime)
	return c
}
