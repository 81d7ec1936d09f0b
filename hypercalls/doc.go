// Package hypercalls is Gozen's contract: what an admin over HTTPS, and later a
// guest by hypercall, may ask of a host.
//
// The management operations are defined once, in proto/gozen/v1/gozen.proto.
// The Go messages, clients and handlers in gen/ are generated from it with
// `make generate` and committed, so that a build needs no protobuf compiler.
//
// This tree imports no other Gozen package.
package hypercalls
