// Package api serves the management API: HTTP/2 with mutual TLS, by connect-go.
//
// The handlers translate between the protocol's messages and the parts of dom0
// that do the work; a fault's kind becomes a Connect code. What surrounds them is
// here too: JSON that refuses unknown fields, limits on what a client may send and
// on how slowly, errors in words for requests that reach no handler, recovery from
// panics, and a line in the log for every call, with the admin's name.
package api
