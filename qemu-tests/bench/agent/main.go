package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench agent:", serve())
	// PID 1 starts it again; not at once.
	time.Sleep(5 * time.Second)
	os.Exit(1)
}

// serve obeys the launcher. It returns only if it cannot.
func serve() error {
	h, err := newHost()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", protocol.Port))
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		h.obey(conn)
		_ = conn.Close()
	}
}

// answer is the connection to the launcher; lines of several goroutines do not mix.
type answer struct {
	mu   sync.Mutex
	conn net.Conn
}

func (a *answer) line(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// A launcher that is gone is noticed at the next read.
	_, _ = a.conn.Write([]byte(s + "\n"))
}

func (a *answer) sample(s measure.Sample) { a.line(s.Line()) }

func (a *answer) logf(format string, args ...any) { a.line(fmt.Sprintf(format, args...)) }

func (h *host) obey(conn net.Conn) {
	a := &answer{conn: conn}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var s protocol.Step
		if err := json.Unmarshal(in.Bytes(), &s); err != nil {
			a.logf("bench agent: %q is no step: %v", in.Text(), err)
			return
		}
		limit := 5 * time.Minute
		if s.Seconds > 0 {
			limit = time.Duration(s.Seconds) * time.Second
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := h.step(ctx, s, a)
		cancel()
		if err != nil {
			a.line(measure.Failure{Subject: string(s.Subject), Part: string(s.Part), Why: err.Error()}.Line())
		}
		a.line(protocol.Done)
	}
}

func (h *host) step(ctx context.Context, s protocol.Step, a *answer) error {
	switch s.Part {
	case protocol.Start:
		return h.start(ctx, s, a)
	case protocol.Count:
		return h.count(ctx, s, a)
	case protocol.Work:
		if s.Subject == protocol.Host {
			return workOnHost(ctx, s, a)
		}
		return h.work(ctx, s, a)
	case protocol.Pair:
		return h.pair(ctx, s, a)
	case protocol.Density:
		return h.density(ctx, s, a)
	case protocol.Debian:
		return h.debian(ctx, s, a)
	}
	return fmt.Errorf("no part %q", s.Part)
}
