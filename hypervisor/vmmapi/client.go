package vmmapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// MaxLine bounds a line of the control protocol in bytes, its end included.
const MaxLine = 1 << 20

// Client talks to a vmm by its control socket. Its methods may be used from many
// goroutines.
type Client struct {
	path string

	mu   sync.Mutex // one request on conn at a time
	conn *net.UnixConn
	in   *bufio.Reader
}

// Dial connects to the vmm that listens at path. An error that wraps
// syscall.ECONNREFUSED or syscall.ENOENT means that no vmm is there.
func Dial(ctx context.Context, path string) (*Client, error) {
	c := &Client{path: path}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return c, nil
}

// Close closes the client's own connection; those of Console and Events are the
// caller's.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends a request and returns the vmm's answer. It is for every operation but
// OpConsole and OpEvents. After an error that is not a *RequestError the client
// is of no further use: Dial again.
func (c *Client) Do(ctx context.Context, req Request) (Response, error) {
	if req.Op == OpConsole || req.Op == OpEvents {
		return Response{}, fmt.Errorf("vmm request %q: takes over its connection; use Console or Events", req.Op)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer interruptible(ctx, c.conn)()
	if err := WriteLine(c.conn, req); err != nil {
		return Response{}, orContext(ctx, fmt.Errorf("vmm request %q: %w", req.Op, err))
	}
	var resp Response
	if err := ReadLine(c.in, &resp); err != nil {
		return Response{}, orContext(ctx, fmt.Errorf("vmm answer to %q: %w", req.Op, err))
	}
	if resp.Error != "" {
		return resp, &RequestError{Op: req.Op, Message: resp.Error}
	}
	return resp, nil
}

// RequestError is a request that the vmm refused.
type RequestError struct {
	Op      string
	Message string
}

func (e *RequestError) Error() string { return fmt.Sprintf("vmm request %q: %s", e.Op, e.Message) }

// Console opens a connection that carries the guest's console both ways, from
// now on. What the guest wrote before is in its Ring.
func (c *Client) Console(ctx context.Context) (*net.UnixConn, error) {
	return c.open(ctx, OpConsole)
}

// Events opens the stream of the guest's events, starting with every event so
// far.
func (c *Client) Events(ctx context.Context) (*EventStream, error) {
	conn, err := c.open(ctx, OpEvents)
	if err != nil {
		return nil, err
	}
	return &EventStream{conn: conn, in: bufio.NewReader(conn)}, nil
}

// EventStream yields the events of a guest.
type EventStream struct {
	conn *net.UnixConn
	in   *bufio.Reader
}

// Next waits for the next event. It returns io.EOF after the last one, when the
// vmm is gone.
func (s *EventStream) Next() (Event, error) {
	var e Event
	err := ReadLine(s.in, &e)
	return e, err
}

// Close ends the stream and a Next that waits.
func (s *EventStream) Close() error { return s.conn.Close() }

func (c *Client) open(ctx context.Context, op string) (*net.UnixConn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := interruptible(ctx, conn)
	err = WriteLine(conn, Request{Op: op})
	stop()
	if err != nil {
		_ = conn.Close()
		return nil, orContext(ctx, fmt.Errorf("vmm request %q: %w", op, err))
	}
	return conn, nil
}

func (c *Client) dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, fmt.Errorf("connect to vmm: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// interruptible makes reads and writes of conn fail when ctx ends, until the
// returned function is called.
func interruptible(ctx context.Context, conn net.Conn) (stop func()) {
	cancel := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() { cancel() }
}

// orContext prefers the reason the context gives over the error it caused.
func orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// WriteLine writes v as one line of JSON, in one write.
func WriteLine(w interface{ Write([]byte) (int, error) }, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(b)+1 > MaxLine {
		return fmt.Errorf("line of %d bytes: more than %d", len(b)+1, MaxLine)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// ReadLine reads one line of at most MaxLine bytes and decodes its JSON into v.
// At the end of the stream, before a first byte, it returns io.EOF.
func ReadLine(r *bufio.Reader, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return fmt.Errorf("line longer than %d bytes", MaxLine)
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > 0 {
				return fmt.Errorf("cut line: %w", err)
			}
			return err
		}
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), v); err != nil {
		return fmt.Errorf("decode line: %w", err)
	}
	return nil
}
