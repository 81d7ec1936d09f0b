package failure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/identity"
)

// Exit codes of the CLI. They are part of its interface (docs/cli.md).
const (
	OK          = 0
	General     = 1   // anything without a code of its own
	Usage       = 2   // the command line is wrong; nothing was asked of the host
	NotFound    = 3   // no guest, volume, image or context of that name
	Unreachable = 4   // no connection: unknown host, refused, timed out, cut
	Identity    = 5   // the host, or its certificate, was not accepted by the other side
	Conflict    = 6   // name taken, thing in use, or in the wrong state
	Timeout     = 7   // what was waited for did not happen in time
	Interrupted = 130 // Ctrl-C or SIGTERM
)

// Failure is an error with an exit code and perhaps a hint.
type Failure struct {
	Message string
	// Hint is a sentence or a command on what to do next; may be empty or have
	// several lines.
	Hint string
	Code int
	Lost bool  // the connection was there and broke; see Probe
	Err  error // the cause, may be nil
}

func (f *Failure) Error() string { return f.Message }
func (f *Failure) Unwrap() error { return f.Err }

// New returns a failure with a message in the way of fmt.Sprintf.
func New(code int, format string, args ...any) *Failure {
	return &Failure{Message: fmt.Sprintf(format, args...), Code: code}
}

// WithHint sets the hint and returns the failure.
func (f *Failure) WithHint(format string, args ...any) *Failure {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// Host is what Of needs to know about the connection that failed.
type Host struct {
	Context     *contexts.Context // nil when none was loaded
	Certificate *x509.Certificate // the admin's, nil when there is none
}

// Of returns err as a Failure. A Failure inside err keeps its code and hint, and
// the text around it stays.
func Of(err error, host Host) *Failure {
	var own *Failure
	if errors.As(err, &own) {
		return &Failure{Message: err.Error(), Hint: own.Hint, Code: own.Code, Lost: own.Lost, Err: err}
	}
	switch {
	case errors.Is(err, contexts.ErrNotFound):
		return &Failure{Message: err.Error(), Code: NotFound, Err: err,
			Hint: "See the contexts there are: gozen context ls"}
	case errors.Is(err, contexts.ErrExists):
		return &Failure{Message: err.Error(), Code: Conflict, Err: err,
			Hint: "Replace it with --replace, or take another name."}
	case errors.Is(err, contexts.ErrNone):
		return &Failure{Message: err.Error(), Code: Usage, Err: err,
			Hint: "Choose one: gozen context use NAME\nMake one:   gozen context add NAME --address HOST:8443"}
	}
	var rpc *connect.Error
	if errors.As(err, &rpc) {
		return ofRPC(err, rpc, host)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &Failure{Message: "interrupted", Code: Interrupted, Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Failure{Message: err.Error(), Code: Timeout, Err: err}
	}
	return &Failure{Message: err.Error(), Code: General, Err: err}
}

func ofRPC(err error, rpc *connect.Error, host Host) *Failure {
	if !connect.IsWireError(err) {
		if f := ofTransport(rpc.Unwrap(), host); f != nil {
			f.Err = err
			return f
		}
	}
	f := &Failure{Message: message(err, rpc), Code: General, Err: err}
	switch rpc.Code() {
	case connect.CodeCanceled:
		f.Code, f.Message = Interrupted, "interrupted"
	case connect.CodeDeadlineExceeded:
		f.Code = Timeout
	case connect.CodeNotFound:
		f.Code = NotFound
	case connect.CodeAlreadyExists, connect.CodeFailedPrecondition, connect.CodeAborted:
		f.Code = Conflict
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		f.Code = Identity
	case connect.CodeUnavailable:
		// From the host itself it means that the host cannot do this now.
		if !connect.IsWireError(err) {
			f.Code, f.Lost = Unreachable, true
		}
	case connect.CodeUnimplemented:
		f.Hint = "The host runs an older version of Gozen, or it is no Gozen host: gozen version --host"
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
		f.Hint = "The host's log may say more: gozen host log"
	}
	return f
}

// message is the error's text without the code that Connect puts before it.
func message(err error, rpc *connect.Error) string {
	text := rpc.Message()
	if text == "" {
		text = rpc.Code().String()
	}
	// Text that a command put around the error stays.
	whole, inner := err.Error(), rpc.Error()
	if len(whole) > len(inner) && whole[len(whole)-len(inner):] == inner {
		return whole[:len(whole)-len(inner)] + text
	}
	return text
}

// names returns how to speak of the host and of the context.
func (h Host) names() (address, name string) {
	if h.Context == nil {
		return "the host", "?"
	}
	return h.Context.Address, h.Context.Name
}

func (h Host) serverName() string {
	if h.Context == nil {
		return "?"
	}
	if h.Context.ServerName != "" {
		return h.Context.ServerName
	}
	return identity.ServerName
}

// date writes a time of validity.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
