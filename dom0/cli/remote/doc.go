// Package remote is the admin's side of a connection to a host: the services of
// its management API over HTTP/2 and mutual TLS. Whoever speaks to hosts, the CLI
// as well as the launcher of nested ones, does it by this package; who they are
// and whom they trust is in the TLS configuration that they bring.
package remote
