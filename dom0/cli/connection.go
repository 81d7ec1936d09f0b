package cli

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/cli/contexts"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

const (
	dialTimeout = 10 * time.Second
	// A silent connection is probed after pingAfter and given up pingTimeout later,
	// so that a console or a log does not hang on a host that lost its power.
	pingAfter   = 15 * time.Second
	pingTimeout = 15 * time.Second
	// callTimeout bounds calls that the host answers at once.
	callTimeout = 30 * time.Second
	// maxMessage bounds what a host may send in one message, in bytes.
	maxMessage = 16 << 20
)

// host is a connection to the chosen host; nothing is sent before the first call.
type host struct {
	context *contexts.Context
	hosts   gozenv1connect.HostServiceClient
	guests  gozenv1connect.GuestServiceClient
	volumes gozenv1connect.VolumeServiceClient
	images  gozenv1connect.ImageServiceClient
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
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	client := &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     cfg,
		Protocols:           protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}}
	base := "https://" + c.Address
	opts := connect.WithClientOptions(connect.WithReadMaxBytes(maxMessage))
	return &host{
		context: c,
		hosts:   gozenv1connect.NewHostServiceClient(client, base, opts),
		guests:  gozenv1connect.NewGuestServiceClient(client, base, opts),
		volumes: gozenv1connect.NewVolumeServiceClient(client, base, opts),
		images:  gozenv1connect.NewImageServiceClient(client, base, opts),
	}, nil
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
