// Package fault classes the errors that dom0 tells its clients.
//
// The parts of dom0 know what went wrong and what the admin can do about it; the
// API needs one word for programs besides. A fault is an error with such a word.
// Errors without one are dom0's own failures.
package fault
