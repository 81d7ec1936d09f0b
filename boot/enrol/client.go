package enrol

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/cli/remote"
	"gozen/dom0/identity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// Client is a connection to a host's management API.
type Client struct{ *remote.Host }

const dialTimeout = 5 * time.Second

// patience is for a host that may still be starting, under emulation perhaps:
// tries are short, silence is borne.
var patience = remote.Patience{Dial: dialTimeout, PingAfter: 10 * time.Second, PingWait: 30 * time.Second}

// Connect prepares a connection to the host at an address; nothing is sent
// before the first call. An identity other than e.Admin may be given.
func (e *Enrolment) Connect(address string, admin identity.Pair) (*Client, error) {
	config, err := identity.ClientConfig(admin, identity.Trust{CAPEM: e.CA.CertPEM})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return &Client{remote.Connect(address, config, patience)}, nil
}

// retryPause is the pause between two tries to reach a starting host.
const retryPause = 250 * time.Millisecond

// WaitReady asks the host for its information until it answers. It gives up when
// ctx ends, and when gone, which may be nil, is closed.
func (c *Client) WaitReady(ctx context.Context, gone <-chan struct{}) (*gozenv1.GetInfoResponse, error) {
	pause := time.NewTicker(retryPause)
	defer pause.Stop()
	for {
		info, err := c.info(ctx)
		if err == nil {
			return info, nil
		}
		select {
		case <-gone:
			return nil, fmt.Errorf("the host is gone; last try to reach it: %w", err)
		case <-ctx.Done():
			return nil, fmt.Errorf("the host did not answer in time; last try: %w", err)
		case <-pause.C:
		}
	}
}

func (c *Client) info(ctx context.Context) (*gozenv1.GetInfoResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	resp, err := c.Hosts.GetInfo(ctx, connect.NewRequest(&gozenv1.GetInfoRequest{}))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}
