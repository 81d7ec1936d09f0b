// Package vmmapi is what dom0 and a guest's vmm process say to each other.
//
// dom0 starts one vmm a guest. It opens everything the vmm will need and hands
// over descriptors, numbered from FirstFD up in the order that Config names
// them; the vmm opens nothing by name. The Config itself is JSON in a sealed
// memfd, descriptor ConfigFD.
//
// The vmm accepts connections on a listening Unix socket, descriptor ControlFD,
// so that a restarted dom0 can find it again. The first line of a connection is
// a Request in JSON. For "console" and "events" the connection then carries raw
// console bytes both ways, or a stream of Event lines from the vmm; for every
// other operation the vmm answers one Response line and further requests may
// follow on the same connection.
//
// Console output goes to a Ring (a file in dom0's memory file system, handed
// over as a descriptor), which outlives both processes. The last word of a vmm
// is an Outcome, written to the descriptor that Config names: dom0 reads it when
// the process is gone, even if it was not running at that time. No Outcome means
// that the vmm was killed.
package vmmapi
