// Package daemon is dom0's daemon: it puts the parts together and serves the API.
//
// It comes up in an order in which each step can fail without the next: seed,
// data disk, identity, network, guests, API. A step that failed is a problem
// that GetInfo, the log and the host's console show, and what needs it answers
// with that problem; the rest works. So a host with a broken data disk can still
// be asked what is wrong with it.
//
// The daemon may be killed at any time. Guests go on without it, and the next
// daemon finds them again.
package daemon
