// Package guesttest helps tests of dom0 to run guests where there is no KVM.
//
// A test binary that calls Main first in its TestMain can be started as a vmm by
// Start: a real process of its own that gets a vmm's descriptors and speaks
// package vmmapi's protocol. It runs no guest; what a guest would do, it does
// when told so by a line of console input:
//
//	print TEXT     writes TEXT and a newline to its console
//	poweroff       ends with that outcome, as do reset, panic, triple-fault
//	device-error   reports a device in error
//	die            ends without a word
//	flood          prints until it cannot, then ends without a word
//	eat            takes memory until it is killed
//	hang           takes no further input
//
// The words "no-start" and "deaf" in the kernel's command line make it fail to
// start, or ignore the power button.
package guesttest
