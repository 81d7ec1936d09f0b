package enrol

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/identity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// Client is a connection to a host's management API.
type Client struct {
	Hosts   gozenv1connect.HostServiceClient
	Guests  gozenv1connect.GuestServiceClient
	Volumes gozenv1connect.VolumeServiceClient
	Images  gozenv1connect.ImageServiceClient

	http *http.Client
}

const (
	dialTimeout = 5 * time.Second
	// A host that answers no ping for this long is given up, so that a stream to a
	// host whose power was cut ends.
	pingAfter = 10 * time.Second
	pingWait  = 30 * time.Second
	// maxMessage bounds what the host may send in one message, in bytes.
	maxMessage = 16 << 20
)

// Connect prepares a connection to the host at an address; nothing is sent
// before the first call. An identity other than e.Admin may be given.
func (e *Enrolment) Connect(address string, admin identity.Pair) (*Client, error) {
	config, err := identity.ClientConfig(admin, identity.Trust{CAPEM: e.CA.CertPEM})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	client := &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     config,
		Protocols:           protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait},
	}}
	base := "https://" + address
	limit := connect.WithReadMaxBytes(maxMessage)
	return &Client{
		Hosts:   gozenv1connect.NewHostServiceClient(client, base, limit),
		Guests:  gozenv1connect.NewGuestServiceClient(client, base, limit),
		Volumes: gozenv1connect.NewVolumeServiceClient(client, base, limit),
		Images:  gozenv1connect.NewImageServiceClient(client, base, limit),
		http:    client,
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

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
