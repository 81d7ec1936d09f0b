package remote

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// maxMessage bounds what a host may send in one message, in bytes.
const maxMessage = 16 << 20

// Host is the management API of a host.
type Host struct {
	Hosts   gozenv1connect.HostServiceClient
	Guests  gozenv1connect.GuestServiceClient
	Volumes gozenv1connect.VolumeServiceClient
	Images  gozenv1connect.ImageServiceClient

	http *http.Client
}

// Patience is how long a host is waited for.
type Patience struct {
	// Dial is for the connection, and again for the TLS handshake.
	Dial time.Duration
	// A connection that is silent for PingAfter is probed and given up PingWait
	// later, so that a console or a log does not hang on a host that lost its power.
	PingAfter, PingWait time.Duration
}

// Connect prepares a connection to the host at address, HOST:PORT; nothing is
// sent before the first call.
func Connect(address string, config *tls.Config, p Patience) *Host {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	client := &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: p.Dial}).DialContext,
		TLSHandshakeTimeout: p.Dial,
		TLSClientConfig:     config,
		Protocols:           protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: p.PingAfter, PingTimeout: p.PingWait},
	}}
	base := "https://" + address
	limit := connect.WithReadMaxBytes(maxMessage)
	return &Host{
		Hosts:   gozenv1connect.NewHostServiceClient(client, base, limit),
		Guests:  gozenv1connect.NewGuestServiceClient(client, base, limit),
		Volumes: gozenv1connect.NewVolumeServiceClient(client, base, limit),
		Images:  gozenv1connect.NewImageServiceClient(client, base, limit),
		http:    client,
	}
}

// Close closes idle connections.
func (h *Host) Close() { h.http.CloseIdleConnections() }
