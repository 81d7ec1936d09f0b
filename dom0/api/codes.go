package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"gozen/dom0/fault"
)

var codes = map[fault.Kind]connect.Code{
	fault.Internal:     connect.CodeInternal,
	fault.Invalid:      connect.CodeInvalidArgument,
	fault.NotFound:     connect.CodeNotFound,
	fault.Exists:       connect.CodeAlreadyExists,
	fault.Precondition: connect.CodeFailedPrecondition,
	fault.Exhausted:    connect.CodeResourceExhausted,
	fault.Unavailable:  connect.CodeUnavailable,
	fault.Aborted:      connect.CodeAborted,
	fault.TimedOut:     connect.CodeDeadlineExceeded,
}

// coded gives err the code that clients see.
func coded(err error) error {
	var c *connect.Error
	switch {
	case err == nil || errors.As(err, &c):
		return err
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return connect.NewError(codes[fault.KindOf(err)], err)
}
