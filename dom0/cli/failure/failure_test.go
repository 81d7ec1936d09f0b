package failure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	"gozen/dom0/cli/contexts"
)

func TestOf(t *testing.T) {
	wire := func(code connect.Code, text string) error { return connect.NewWireError(code, errors.New(text)) }
	local := func(code connect.Code, err error) error { return connect.NewError(code, err) }
	host := Host{Context: &contexts.Context{Name: "lab", Address: "192.0.2.7:8443"}}
	for _, c := range []struct {
		name          string
		err           error
		code          int
		message, hint string
	}{
		{"own", fmt.Errorf("guest %q: %w", "web", New(Usage, "no").WithHint("do")), Usage, `guest "web": no`, "do"},
		{"plain", errors.New("disk full"), General, "disk full", ""},
		{"no context", contexts.ErrNone, Usage, "no context is in use", "gozen context use NAME"},
		{"unknown context", fmt.Errorf("context %q %w", "x", contexts.ErrNotFound), NotFound, `context "x" not found`, "gozen context ls"},
		{"taken context", fmt.Errorf("context %q %w", "x", contexts.ErrExists), Conflict, "exists already", "--replace"},
		{"canceled", context.Canceled, Interrupted, "interrupted", ""},
		{"late", context.DeadlineExceeded, Timeout, "deadline", ""},

		{"not found", wire(connect.CodeNotFound, `guest "web": there is none`), NotFound, `guest "web": there is none`, ""},
		{"wrapped", fmt.Errorf("first: %w", wire(connect.CodeNotFound, "none")), NotFound, "first: none", ""},
		{"exists", wire(connect.CodeAlreadyExists, "taken"), Conflict, "taken", ""},
		{"precondition", wire(connect.CodeFailedPrecondition, "in use"), Conflict, "in use", ""},
		{"aborted", wire(connect.CodeAborted, "cut"), Conflict, "cut", ""},
		{"exhausted", wire(connect.CodeResourceExhausted, "no memory"), General, "no memory", ""},
		{"invalid", wire(connect.CodeInvalidArgument, "bad name"), General, "bad name", ""},
		{"deadline", wire(connect.CodeDeadlineExceeded, "still running"), Timeout, "still running", ""},
		{"unavailable", wire(connect.CodeUnavailable, "no /dev/kvm"), General, "no /dev/kvm", ""},
		{"connection of some other kind", local(connect.CodeUnavailable, errors.New("strange")), Unreachable, "strange", ""},
		{"denied", wire(connect.CodePermissionDenied, "no"), Identity, "no", ""},
		{"internal", wire(connect.CodeInternal, "oops"), General, "oops", "gozen host log"},
		{"old host", wire(connect.CodeUnimplemented, "unknown"), General, "unknown", "gozen version --host"},
		{"no text", wire(connect.CodeNotFound, ""), NotFound, "not_found", ""},

		{"refused", local(connect.CodeUnavailable, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}),
			Unreachable, "192.0.2.7:8443 refused the connection", "gozen context show lab"},
		{"no route", local(connect.CodeUnavailable, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}),
			Unreachable, "no way to 192.0.2.7:8443", "on its network"},
		{"dial timeout", local(connect.CodeUnavailable, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}),
			Unreachable, "192.0.2.7:8443 does not answer", "port 8443"},
		{"unknown name", local(connect.CodeUnavailable, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "labb", IsNotFound: true}}),
			Unreachable, `no host named "labb"`, "gozen context show lab"},
		{"broken resolver", local(connect.CodeUnavailable, &net.DNSError{Name: "lab", Err: "server misbehaving"}),
			Unreachable, `"lab" could not be looked up: server misbehaving`, ""},
		{"cut", local(connect.CodeUnavailable, &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}),
			Unreachable, "was cut", ""},
		{"call timeout", local(connect.CodeDeadlineExceeded, context.DeadlineExceeded), Timeout, "did not answer in time", ""},
		{"interrupt", local(connect.CodeCanceled, context.Canceled), Interrupted, "interrupted", ""},
	} {
		f := Of(c.err, host)
		if f.Code != c.code || !strings.Contains(f.Message, c.message) || !strings.Contains(f.Hint, c.hint) || (c.hint == "" && f.Hint != "" && c.code != Unreachable) {
			t.Errorf("%s: code %d, message %q, hint %q; want %d, %q, %q", c.name, f.Code, f.Message, f.Hint, c.code, c.message, c.hint)
		}
		if f.Err != nil && !errors.Is(f, c.err) {
			t.Errorf("%s: the cause is lost", c.name)
		}
	}
}

// Errors before any context was loaded have nothing to name.
func TestOfWithoutContext(t *testing.T) {
	f := Of(connect.NewError(connect.CodeUnavailable, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), Host{})
	if f.Code != Unreachable || !strings.Contains(f.Message, "the host refused") {
		t.Errorf("%+v", f)
	}
}
