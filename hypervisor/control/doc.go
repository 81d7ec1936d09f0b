// Package control serves a vmm's control socket, as vmmapi describes it.
//
// Nothing here can hold up the guest. Its console output goes to the ring, a
// file in memory; a connection that shows the console reads from the ring at its
// own pace and skips what the ring no longer has. Events are kept in a short
// journal that each event stream replays and then follows.
package control
