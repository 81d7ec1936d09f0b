package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/events"
	"gozen/dom0/guests"
	"gozen/dom0/hostlog"
	"gozen/dom0/identity"
	"gozen/dom0/images"
	"gozen/dom0/upload"
	"gozen/dom0/volumes"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

const (
	// maxMessage bounds one message of a client in bytes: a chunk of an upload and
	// what surrounds it.
	maxMessage = upload.MaxChunk + 64<<10
	// silence is how long a client may send nothing while the host waits for the
	// rest of a request, or for the next piece of an upload.
	silence = 60 * time.Second
	// pingAfter is how long a connection may be silent before the host asks if the
	// other side is there still.
	pingAfter = 30 * time.Second
)

// Services are the parts of dom0 behind the API.
type Services struct {
	Host    Host
	Guests  *guests.Manager
	Volumes *volumes.Store
	Images  *images.Store
	Events  *events.Log
	HostLog *hostlog.Buffer
	Log     *slog.Logger
}

// Handler returns the API's HTTP handler.
func Handler(s Services) http.Handler {
	mux := http.NewServeMux()
	opts := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage),
		connect.WithInterceptors(recorder{s.Log}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			s.Log.Error("panic in the API", "method", spec.Procedure, "panic", p, "stack", string(debug.Stack()))
			return connect.NewError(connect.CodeInternal, errors.New("the host's daemon made a mistake; its log says where"))
		}),
	}
	for _, name := range jsonNames {
		opts = append(opts, connect.WithCodec(strictJSON{name}))
	}
	var paths []string
	add := func(path string, h http.Handler) {
		mux.Handle(path, h)
		paths = append(paths, strings.Trim(path, "/"))
	}
	add(gozenv1connect.NewHostServiceHandler(hostService{s}, opts...))
	add(gozenv1connect.NewGuestServiceHandler(guestService{s}, opts...))
	add(gozenv1connect.NewVolumeServiceHandler(volumeService{s}, opts...))
	add(gozenv1connect.NewImageServiceHandler(imageService{s}, opts...))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, connect.CodeUnimplemented, fmt.Sprintf("no such method: %.200s: POST to /SERVICE/METHOD, where SERVICE is one of %s", r.URL.Path, strings.Join(paths, ", ")))
	})
	return named(bounded(explained(mux)))
}

// Server is the API on the network.
type Server struct {
	http *http.Server
	log  *slog.Logger
}

// NewServer returns a server of the handler with the TLS configuration of package
// identity.
func NewServer(h http.Handler, tlsConfig *tls.Config, log *slog.Logger) *Server {
	return &Server{
		http: &http.Server{
			Handler:           h,
			TLSConfig:         tlsConfig,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       5 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			HTTP2: &http.HTTP2Config{
				MaxConcurrentStreams: 100,
				SendPingTimeout:      pingAfter,
				PingTimeout:          pingAfter,
				WriteByteTimeout:     silence,
				// A chunk of an upload fits without waiting for a window.
				MaxReceiveBufferPerStream:     2 << 20,
				MaxReceiveBufferPerConnection: 4 << 20,
			},
		},
		log: log,
	}
}

// Serve answers connections until the listener fails or the server ends.
// Connections to a refused local address are closed at once.
func (s *Server) Serve(l net.Listener, refused func() netip.Addr) error {
	err := s.http.ServeTLS(&selective{l, refused}, "", "")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the server and every call.
func (s *Server) Close() error { return s.http.Close() }

// Shutdown takes no new calls and waits for those under way, until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// selective does not accept connections to the address that guests have for
// their gateway: the API is the admins'.
type selective struct {
	net.Listener
	refused func() netip.Addr
}

func (l *selective) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		local, ok := conn.LocalAddr().(*net.TCPAddr)
		if !ok || l.refused == nil || local.AddrPort().Addr().Unmap() != l.refused() {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// recorder writes a line about every call to the log.
type recorder struct{ log *slog.Logger }

func (r recorder) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		begin := time.Now()
		resp, err := next(ctx, req)
		err = coded(err)
		r.line(ctx, req.Spec(), req.Peer(), begin, err)
		return resp, err
	}
}

func (r recorder) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (r recorder) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		begin := time.Now()
		err := coded(next(ctx, conn))
		r.line(ctx, conn.Spec(), conn.Peer(), begin, err)
		return err
	}
}

func (r recorder) line(ctx context.Context, spec connect.Spec, peer connect.Peer, begin time.Time, err error) {
	args := []any{"method", spec.Procedure, "admin", admin(ctx), "from", peer.Addr, "took", time.Since(begin).Round(time.Millisecond)}
	switch {
	case err == nil:
		level := slog.LevelInfo
		if spec.IdempotencyLevel == connect.IdempotencyNoSideEffects {
			level = slog.LevelDebug
		}
		r.log.Log(ctx, level, "call", args...)
	case connect.CodeOf(err) == connect.CodeInternal:
		r.log.Error("call failed", append(args, "err", err)...)
	default:
		r.log.Info("call refused", append(args, "code", connect.CodeOf(err), "err", err)...)
	}
}

type adminKey struct{}

// admin returns the name in the certificate of who calls.
func admin(ctx context.Context) string {
	name, _ := ctx.Value(adminKey{}).(string)
	return name
}

// named notes the admin's name for the log.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), adminKey{}, identity.PeerName(r.TLS))))
	})
}
