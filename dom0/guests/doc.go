// Package guests creates, runs and watches guests.
//
// What the admin asked for (the spec) and what is so (the status) are kept
// apart, each in a file of its own. One goroutine a guest brings the two
// together: requests, the words of the guest's vmm, its end, and the timers of
// the restart policy all meet in its loop, so that nothing about one guest ever
// happens at the same time as something else about it.
//
// A guest runs in a vmm, a process that gets every descriptor it needs and has
// no other rights (see package jail). Making one is a long row of steps, each of
// which is taken back if a later one fails.
//
// A vmm is no part of the daemon: it goes on when the daemon ends. What the
// daemon must know to find it again is in the guest's run directory, in memory:
//
//	control.sock       where the vmm listens
//	vmm.json           process, user, network interfaces
//	vmm/console.ring   the last output of the guest's console
//	vmm/outcome.json   the vmm's last word
//	vmm/vmm.log        what the vmm printed; empty if all is well
//
// A process is trusted to be the vmm only if it started at the very moment that
// vmm.json says, since process numbers are used again.
package guests
