// Package work holds the programs that the benchmark runs in guests and, to
// compare with, on the host.
//
// Each workload is a function that runs for a bounded time and returns values of
// measures in the catalogue's units. A workload that fails in part returns what it
// has and an error for the rest. Who calls sets the subject.
//
//	CPU      a processor at work: what virtualisation adds to ordinary programs
//	Exits    single causes of an exit, each in a loop
//	Entropy  bytes from the entropy device
//	Fio      a disk, by fio
//	Net      a network, against the Servers at another address
//	Touch    makes memory resident
//
// Costs are taken in batches, of which the best counts: what disturbs a batch only
// adds. Programs that must not be disturbed by Go's scheduler, such as the two
// processes that hand a byte to each other, are written in assembly. Two of them
// fork: the child shares nothing with the parent but copied memory, runs a few
// instructions without a stack, and never returns to Go.
package work
