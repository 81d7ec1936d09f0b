// Package seccomp lets a process keep a short list of system calls, some of them
// only with certain arguments, and kills it for any other (Linux,
// Documentation/userspace-api/seccomp_filter.rst).
//
// A Filter becomes a program of classic BPF. Each rule of it loads what it looks
// at and ends in a verdict of its own, so that no rule depends on what another
// one left behind.
package seccomp
