package initctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// SocketPath is where PID 1 listens.
const SocketPath = "/run/gozen/init.sock"

// StopGuestsTimeout is how long the daemon may take to stop the guests after
// SignalPowerOff or SignalReboot.
const StopGuestsTimeout = 3 * time.Minute

// Signals from PID 1 to the daemon.
const (
	SignalPowerOff = syscall.SIGPWR
	SignalReboot   = syscall.SIGUSR1
)

// Operations of a Request.
const (
	OpPowerOff = "poweroff" // ends all processes, unmounts, powers off
	OpReboot   = "reboot"   // the same, and starts again
	OpBanner   = "banner"   // shows Text on the console, and again when asked for
)

// MaxLine is the size in bytes of the longest line that PID 1 reads.
const MaxLine = 8 << 10

// Request is what the daemon asks for.
type Request struct {
	Op   string `json:"op"`
	Text string `json:"text,omitempty"` // OpBanner: lines to show
}

// Response is PID 1's answer. For OpPowerOff and OpReboot it means that the
// machine is going down.
type Response struct {
	Error string `json:"error,omitempty"`
}

// Client talks to PID 1. The zero value uses SocketPath.
type Client struct {
	Path string
}

// PowerOff asks for the machine to be powered off. Guests must be stopped
// before: PID 1 ends what still runs without looking at what it is.
func (c Client) PowerOff(ctx context.Context) error { return c.do(ctx, Request{Op: OpPowerOff}) }

// Reboot is PowerOff and a new start.
func (c Client) Reboot(ctx context.Context) error { return c.do(ctx, Request{Op: OpReboot}) }

// Banner shows text on the console of the machine.
func (c Client) Banner(ctx context.Context, text string) error {
	return c.do(ctx, Request{Op: OpBanner, Text: text})
}

func (c Client) do(ctx context.Context, req Request) error {
	path := c.Path
	if path == "" {
		path = SocketPath
	}
	if err := call(ctx, path, req); err != nil {
		return fmt.Errorf("init: %s: %w", req.Op, err)
	}
	return nil
}

func call(ctx context.Context, path string, req Request) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if len(line) >= MaxLine {
		return fmt.Errorf("%d bytes are too long", len(line))
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(conn, MaxLine)).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	var resp Response
	if err := json.Unmarshal(answer, &resp); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if resp.Error != "" {
		return errors.New(resp.Error)
	}
	return nil
}
