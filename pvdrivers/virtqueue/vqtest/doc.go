// Package vqtest is the driver's side of virtqueues, for the tests of backends:
// it plays the guest, with real rings in real shared memory and real eventfds.
//
// It is written apart from package virtqueue, from the specification, so that
// the two check each other.
package vqtest
