package vmmapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serve answers each connection at a socket of its own with handle.
func serve(t *testing.T, handle func(conn net.Conn, in *bufio.Reader)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return path
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClientDo(t *testing.T) {
	c := dial(t, serve(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			var req Request
			if ReadLine(in, &req) != nil {
				return
			}
			resp := Response{State: "running"}
			if req.Op != OpPing {
				resp = Response{Error: "no such operation"}
			}
			if WriteLine(conn, resp) != nil {
				return
			}
		}
	}))
	for range 2 { // the connection stays good after a refusal
		resp, err := c.Do(t.Context(), Request{Op: OpPing})
		if err != nil || resp.State != "running" {
			t.Fatalf("ping = %+v, %v", resp, err)
		}
		_, err = c.Do(t.Context(), Request{Op: "dance"})
		if re := (*RequestError)(nil); !errors.As(err, &re) || re.Op != "dance" {
			t.Fatalf("dance = %v, want a RequestError", err)
		}
	}
	if _, err := c.Do(t.Context(), Request{Op: OpConsole}); err == nil {
		t.Error("Do took OpConsole")
	}
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	c := dial(t, serve(t, func(conn net.Conn, in *bufio.Reader) {
		var req Request
		_ = ReadLine(in, &req)
		close(asked)
		_, _ = in.ReadByte() // never answers
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Do(ctx, Request{Op: OpPing}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do = %v, want context.Canceled", err)
	}
}

func TestClientEventsAndConsole(t *testing.T) {
	c := dial(t, serve(t, func(conn net.Conn, in *bufio.Reader) {
		var req Request
		if ReadLine(in, &req) != nil {
			return
		}
		switch req.Op {
		case OpEvents:
			_ = WriteLine(conn, Event{Kind: EventRunning})
			_ = WriteLine(conn, Event{Kind: EventOutcome, Outcome: &Outcome{Code: CodePowerOff}})
		case OpConsole:
			_, _ = io.Copy(conn, in)
		}
	}))
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if e, err := events.Next(); err != nil || e.Kind != EventRunning {
		t.Fatalf("first event %+v, %v", e, err)
	}
	if e, err := events.Next(); err != nil || e.Outcome == nil || e.Outcome.Code != CodePowerOff {
		t.Fatalf("second event %+v, %v", e, err)
	}
	if _, err := events.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the last event: %v, want EOF", err)
	}

	console, err := c.Console(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if _, err := console.Write([]byte("echo\n")); err != nil {
		t.Fatal(err)
	}
	if err := console.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(console); err != nil || string(b) != "echo\n" {
		t.Fatalf("console gave %q, %v", b, err)
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("Dial = %v, want ENOENT", err)
	}
}

func TestReadLine(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
	}{
		{"not JSON", "hello\n", "decode"},
		{"cut", `{"op":"ping"}`, "cut line"},
		{"too long", `{"op":"` + strings.Repeat("x", MaxLine) + "\"}\n", "longer than"},
		{"nothing", "", "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var req Request
			err := ReadLine(bufio.NewReader(strings.NewReader(tc.in)), &req)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("ReadLine = %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add("{\"op\":\"ping\"}\n{\"op\":\"stop\"}\n")
	f.Add("{\"op\":7}\n")
	f.Fuzz(func(t *testing.T, s string) {
		r := bufio.NewReader(strings.NewReader(s))
		for {
			var req Request
			if ReadLine(r, &req) != nil {
				return
			}
		}
	})
}
