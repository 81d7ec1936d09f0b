package api

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/events"
	"gozen/dom0/guests"
	"gozen/dom0/guesttest"
	"gozen/dom0/hostlog"
	"gozen/dom0/identity"
	"gozen/dom0/images"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

func TestMain(m *testing.M) {
	guesttest.Main()
	os.Exit(m.Run())
}

// bench is the API on a loopback address, and an admin's clients.
type bench struct {
	t       testing.TB
	dir     string
	url     string
	trust   identity.Trust
	ca      *identity.CA
	log     *hostlog.Buffer
	guests  *guests.Manager
	handler http.Handler
	client  *http.Client // an admin's
	host    gozenv1connect.HostServiceClient
	guest   gozenv1connect.GuestServiceClient
	volume  gozenv1connect.VolumeServiceClient
	image   gozenv1connect.ImageServiceClient
	ordered chan order
}

// order is a request to take the host down.
type order struct {
	reboot  bool
	timeout time.Duration
}

// desk stands in for the whole host, which a test process is not.
type desk struct{ b *bench }

func (d desk) Info() (*gozenv1.GetInfoResponse, error) {
	if d.b.ordered == nil {
		panic("no desk")
	}
	return &gozenv1.GetInfoResponse{Hostname: "bench", GuestsTotal: uint32(len(d.b.guests.List()))}, nil
}

func (d desk) Shutdown(_ context.Context, reboot bool, timeout time.Duration) error {
	d.b.ordered <- order{reboot, timeout}
	return nil
}

func newBench(t testing.TB) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "gz") // short, since the path of a Unix socket is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bench{t: t, dir: dir, ordered: make(chan order, 1), log: hostlog.New(1 << 20)}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	vols, err := volumes.Open(filepath.Join(dir, "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	imgs, err := images.Open(filepath.Join(dir, "images"), log)
	if err != nil {
		t.Fatal(err)
	}
	evs := events.NewLog(time.Now)
	b.guests, err = guests.Open(guests.Options{
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		VMM: "/proc/self/exe", KVM: os.DevNull, Start: guesttest.Start,
		Volumes: vols, Images: imgs, Events: evs,
		HostCPUs: 2, HostMemory: 1 << 30, Reserved: func() uint64 { return 0 },
		Clock: guests.SystemClock{}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, g := range b.guests.List() {
			_, _ = b.guests.Kill(context.Background(), g.Spec.Name)
		}
		b.guests.Close()
	})
	b.handler = Handler(Services{Host: desk{b}, Guests: b.guests, Volumes: vols, Images: imgs, Events: evs, HostLog: b.log, Log: log})
	b.serve(b.handler, log)
	return b
}

// serve puts the handler behind mutual TLS.
func (b *bench) serve(h http.Handler, log *slog.Logger) {
	b.t.Helper()
	var err error
	if b.ca, err = identity.NewCA("bench"); err != nil {
		b.t.Fatal(err)
	}
	host, err := identity.NewSelfSigned([]string{"bench"})
	if err != nil {
		b.t.Fatal(err)
	}
	fingerprint, err := identity.Fingerprint(host.CertPEM)
	if err != nil {
		b.t.Fatal(err)
	}
	b.trust = identity.Trust{Fingerprint: fingerprint}
	serverTLS, err := identity.ServerConfig(host, b.ca.CertPEM)
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.url = "https://" + l.Addr().String()
	s := NewServer(h, serverTLS, log)
	done := make(chan error)
	go func() { done <- s.Serve(l, func() netip.Addr { return netip.Addr{} }) }()
	b.t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != nil {
			b.t.Errorf("serve: %v", err)
		}
	})
	admin, err := b.ca.IssueAdmin("ada")
	if err != nil {
		b.t.Fatal(err)
	}
	cfg, err := identity.ClientConfig(admin, b.trust)
	if err != nil {
		b.t.Fatal(err)
	}
	b.client = httpClient(b.t, cfg)
	b.host = gozenv1connect.NewHostServiceClient(b.client, b.url)
	b.guest = gozenv1connect.NewGuestServiceClient(b.client, b.url)
	b.volume = gozenv1connect.NewVolumeServiceClient(b.client, b.url)
	b.image = gozenv1connect.NewImageServiceClient(b.client, b.url)
}

func httpClient(t testing.TB, cfg *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// post sends JSON as curl would.
func (b *bench) post(path, body string) (int, string) {
	b.t.Helper()
	return b.send(http.MethodPost, path, "application/json", body)
}

func (b *bench) send(method, path, contentType, body string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (b *bench) addKernel() {
	b.t.Helper()
	if _, err := b.uploadImage("vmlinuz", gozenv1.ImageKind_IMAGE_KIND_KERNEL, guesttest.Kernel()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) uploadImage(name string, kind gozenv1.ImageKind, data []byte) (*gozenv1.Image, error) {
	stream := b.image.Upload(b.t.Context())
	sum := sha256.Sum256(data)
	// A refused stream fails at the next message; the reason comes at the end.
	for _, msg := range []*gozenv1.UploadImageRequest{
		{Part: &gozenv1.UploadImageRequest_Header{Header: &gozenv1.UploadHeader{Name: name, Kind: kind, SizeBytes: uint64(len(data))}}},
		{Part: &gozenv1.UploadImageRequest_Chunk{Chunk: &gozenv1.UploadChunk{Data: data}}},
		{Part: &gozenv1.UploadImageRequest_Trailer{Trailer: &gozenv1.UploadTrailer{Sha256: sum[:]}}},
	} {
		if stream.Send(msg) != nil {
			break
		}
	}
	resp, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return resp.Msg.Image, nil
}

func wantCode(t *testing.T, err error, code connect.Code, text string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v; want code %v and %q in it", err, code, text)
	}
}
