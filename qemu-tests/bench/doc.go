// Command bench measures what guests cost in Gozen and in the VMMs that a user
// would pick instead, on the same host, in one run, doing the same work. `make
// bench` runs it; docs/benchmarks.md tells how to read what it finds.
//
// It boots Gozen's own image in QEMU, with an agent beside dom0 that starts guests
// in each VMM in turn (package agent), and asks the agent for one step after
// another (package protocol). Repetitions are interleaved, so that what changes on
// the machine while the run goes on changes for all. The samples (package measure)
// become tables and plots (package report) under build/bench/.
//
//	go run ./qemu-tests/bench -quick          counts only
//	go run ./qemu-tests/bench -only start,cpu -repeat 5
//
// A peer that is not packaged takes part when its path is given in PEER_KVMTOOL,
// PEER_FIRECRACKER, PEER_CLOUD_HYPERVISOR or PEER_CROSVM.
package main
