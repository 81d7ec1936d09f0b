// Package enrol makes the machine it runs on the admin of a new host.
//
// New makes an authority and, signed by it, an identity for the admin and one
// for the host. The seed carries the host's side to it at its first boot; the
// admin's side is a CLI context, or a Client for programs. Everything is fresh
// each time: a nested host lives as long as its launcher.
package enrol
