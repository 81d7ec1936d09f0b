package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
)

// monitor is a connection to QEMU's monitor, in its JSON protocol (QMP).
type monitor struct {
	conn net.Conn

	mu      sync.Mutex // held for a whole command
	replies chan reply

	evMu sync.Mutex
	stop string // reason of the last SHUTDOWN event
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// dialMonitor connects and leaves the protocol's negotiation mode.
func dialMonitor(ctx context.Context, socket string) (*monitor, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, replies: make(chan reply)}
	go m.read()
	if err := m.command(ctx, "qmp_capabilities", nil); err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// read passes on the answers and keeps what events say. The greeting has none of
// the fields and is dropped.
func (m *monitor) read() {
	defer close(m.replies)
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			continue
		}
		switch {
		case r.Event == "SHUTDOWN":
			m.evMu.Lock()
			m.stop = r.Data.Reason
			m.evMu.Unlock()
		case r.Error != nil || r.Return != nil:
			m.replies <- r
		}
	}
}

// stopReason is QEMU's word for why the machine stopped: "guest-shutdown",
// "guest-reset", "host-qmp-quit", …; "" while it runs.
func (m *monitor) stopReason() string {
	m.evMu.Lock()
	defer m.evMu.Unlock()
	return m.stop
}

// command executes a command and waits for its answer.
func (m *monitor) command(ctx context.Context, name string, arguments map[string]any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("qemu: %s: %w", name, err)
	}
	if _, err := m.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("qemu: %s: %w", name, err)
	}
	select {
	case r, ok := <-m.replies:
		if !ok {
			return fmt.Errorf("qemu: %s: the machine is gone", name)
		}
		if r.Error != nil {
			return fmt.Errorf("qemu: %s: %s", name, r.Error.Desc)
		}
		return nil
	case <-ctx.Done():
		// The answer may still come and would be taken for the next command's.
		m.conn.Close()
		return fmt.Errorf("qemu: %s: %w", name, ctx.Err())
	}
}
