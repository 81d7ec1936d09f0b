package cli

import (
	"context"
	"os"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/cli/contexts"
	"gozen/dom0/cli/remote"
)

// callTimeout bounds calls that the host answers at once.
const callTimeout = 30 * time.Second

var patience = remote.Patience{Dial: 10 * time.Second, PingAfter: 15 * time.Second, PingWait: 15 * time.Second}

// host is a connection to the chosen host; nothing is sent before the first call.
type host struct {
	*remote.Host
	context *contexts.Context
}

// chosen returns the name of the context to use: --context, $GOZEN_CONTEXT, or
// the one in use.
func (a *app) chosen() (string, error) {
	if a.contextName != "" {
		return a.contextName, nil
	}
	if name := os.Getenv("GOZEN_CONTEXT"); name != "" {
		return name, nil
	}
	return a.store.Current()
}

// connect prepares the connection to the chosen host.
func (a *app) connect() (*host, error) {
	name, err := a.chosen()
	if err != nil {
		return nil, err
	}
	c, err := a.store.Load(name)
	if err != nil {
		return nil, err
	}
	a.host.Context = c
	a.host.Certificate, _ = c.Certificate() // Load has parsed it before
	cfg, err := c.TLSConfig()
	if err != nil {
		return nil, err
	}
	return &host{remote.Connect(c.Address, cfg, patience), c}, nil
}

// call makes a unary call that the host answers at once.
func call[Req, Resp any](ctx context.Context, method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return callLong(ctx, method, req)
}

// callLong makes a unary call that may take as long as it takes.
func callLong[Req, Resp any](ctx context.Context, method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	resp, err := method(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}
