// Package procfs reads what the kernel tells in /proc, for the parts of dom0 that
// need the same file. It imports nothing that PID 1 does without.
package procfs
