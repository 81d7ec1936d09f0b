package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// patient methods have clients that may be silent as long as they like.
var patient = map[string]bool{gozenv1connect.GuestServiceConsoleProcedure: true}

// bounded limits what a client sends, and ends requests whose client stops in the
// middle of it.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !patient[r.URL.Path] {
			r.Body = &watchedBody{r.Body, http.NewResponseController(w)}
		}
		if single(r.Header.Get("Content-Type")) {
			r.Body = &limitedBody{ReadCloser: r.Body, left: maxMessage}
		}
		next.ServeHTTP(w, r)
	})
}

// single reports whether a body of that type is one message, without envelopes.
func single(contentType string) bool {
	return contentType == "application/proto" || strings.HasPrefix(contentType, "application/json")
}

// watchedBody gives every read of a request's body a deadline.
type watchedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *watchedBody) Read(p []byte) (int, error) {
	// An error here means a transport without deadlines, which tests use.
	_ = b.control.SetReadDeadline(time.Now().Add(silence))
	n, err := b.ReadCloser.Read(p)
	// Between reads it is the host that takes its time.
	_ = b.control.SetReadDeadline(time.Time{})
	return n, err
}

// limitedBody ends a message that is too large with an error that says what to
// do. connect-go has a limit of its own, for streams too, whose error does not.
type limitedBody struct {
	io.ReadCloser
	left int64 // bytes
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left >= 0 {
		return n, err
	}
	return 0, connect.NewError(connect.CodeResourceExhausted,
		fmt.Errorf("the message is larger than the %d bytes that a host takes; content goes by the Upload methods, in chunks", maxMessage))
}

// explained gives a body to refusals that connect-go sends without one: a wrong
// HTTP method, and a content type that the method called does not take.
func explained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&explainer{ResponseWriter: w, request: r}, r)
	})
}

type explainer struct {
	http.ResponseWriter
	request *http.Request
}

// WriteHeader implements http.ResponseWriter.
func (e *explainer) WriteHeader(status int) {
	var message string
	switch status {
	case http.StatusMethodNotAllowed:
		message = fmt.Sprintf("%.200s: the HTTP method is %.20q: use POST", e.request.URL.Path, e.request.Method)
	case http.StatusUnsupportedMediaType:
		message = fmt.Sprintf("%.200s: the content type is %.100q: use one of %s", e.request.URL.Path,
			e.request.Header.Get("Content-Type"), e.Header().Get("Accept-Post"))
		if e.request.Method == http.MethodGet {
			message = fmt.Sprintf("%.200s: a GET with a body: use POST", e.request.URL.Path)
		}
	default:
		e.ResponseWriter.WriteHeader(status)
		return
	}
	writeError(e.ResponseWriter, status, connect.CodeUnimplemented, message)
}

// Flush implements http.Flusher, which streams need.
func (e *explainer) Flush() {
	// An error means a transport without flushing, which tests use.
	_ = http.NewResponseController(e.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (e *explainer) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// writeError answers in the form of a Connect error.
func writeError(w http.ResponseWriter, status int, code connect.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code.String(), "message": message})
}
