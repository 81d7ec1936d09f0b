package supervisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"gozen/dom0/initctl"

	"golang.org/x/sys/unix"
)

// control answers requests on PID 1's socket.
type control struct {
	uid    uint32                      // the only user served
	handle func(initctl.Request) error // called from many goroutines
}

// listen opens the socket for its owner only.
func listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// serve answers until the listener is closed.
func (c *control) serve(ln *net.UnixListener) error {
	for {
		conn, err := ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		go guard(func() { c.answer(conn) })
	}
}

// answer serves one connection: one request, one response, in bounded time.
func (c *control) answer(conn *net.UnixConn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var resp initctl.Response
	if err := c.request(conn); err != nil {
		resp.Error = err.Error()
	}
	line, err := json.Marshal(resp)
	if err != nil {
		return
	}
	_, _ = conn.Write(append(line, '\n'))
}

func (c *control) request(conn *net.UnixConn) error {
	line, err := bufio.NewReader(io.LimitReader(conn, initctl.MaxLine)).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("request: no line of at most %d bytes: %w", initctl.MaxLine, err)
	}
	// Asked after reading, so that a stranger is told and does not just find the
	// connection broken.
	uid, err := peerUID(conn)
	if err != nil {
		return err
	}
	if uid != c.uid {
		return fmt.Errorf("user %d may not do this", uid)
	}
	req, err := parseRequest(line)
	if err != nil {
		return err
	}
	return c.handle(req)
}

func parseRequest(line []byte) (initctl.Request, error) {
	var req initctl.Request
	if err := json.Unmarshal(line, &req); err != nil {
		return req, fmt.Errorf("request: %w", err)
	}
	switch req.Op {
	case initctl.OpPowerOff, initctl.OpReboot:
		if req.Text != "" {
			return req, fmt.Errorf("request %q: takes no text", req.Op)
		}
	case initctl.OpBanner:
	default:
		return req, fmt.Errorf("request %q is unknown", req.Op)
	}
	return req, nil
}

// peerUID asks the kernel who is at the other end.
func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, os.NewSyscallError("SO_PEERCRED", credErr)
	}
	return cred.Uid, nil
}
