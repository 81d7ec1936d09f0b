// Package dhcpd gives the guests of one network their addresses.
//
// A guest's address follows from its MAC address: a hash chooses the place, and
// if that is taken the next free one is used. It is then kept in a file, so that
// a guest has the same address for as long as it exists, also when it was off
// and when the host started again. Leases therefore never run out; their time
// only makes guests come back and ask.
//
// The server is spoken to by hostile guests. It serves MAC addresses that dom0
// gave out and no others, handles one packet at a time, keeps no state for
// strangers, and sends nothing outside its own network.
package dhcpd
