// Package hostnet gives the host its own address: the management network.
//
// An Uplink chooses the interface (the one that the seed names, or the first
// physical one with carrier, in the order of the slots), gives it a fixed address
// or asks a DHCP server, keeps the lease, and tells what it has. It never gives
// up: cables, drivers and servers may come late, go and come back. When the
// daemon starts again the interface keeps its address while the lease is asked
// for anew, so that no connection breaks.
package hostnet
