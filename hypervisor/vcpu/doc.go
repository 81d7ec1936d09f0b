// Package vcpu runs a guest's processors.
//
// A VCPU has an operating system thread of its own, for life: KVM keeps a
// processor's state with the thread that runs it. The thread is paused at first.
// Boot or Restore says how the processor starts, Resume lets it run, Pause takes
// it out of the guest, Save reads its complete state, Stop ends it. A processor
// that starts from power-on and one that goes on from a saved state thus take
// the same way.
//
// # The loop
//
// While it runs, the thread does nothing but KVM_RUN. A port or memory access
// that KVM does not handle comes back as an exit and is served right there, on
// the thread, by the Bus that Config names; nothing is allocated and no channel
// is involved. Exits are counted by reason.
//
// # Getting out
//
// Pause and Stop say what they want in an atomic variable, then set KVM's
// immediate_exit, then signal the thread. The order makes every race come out
// right: if the thread is in the guest, the signal brings it back; if it is about
// to enter, immediate_exit turns it away; and because the loop looks at the
// variable only when KVM_RUN has returned EINTR, an exit that was being served
// is always completed by KVM before the processor counts as paused. Resume clears
// immediate_exit first and looks at the variable afterwards.
//
// The signal is SIGUSR1. The Go runtime has a handler for it that does nothing;
// the program must not use it otherwise.
//
// # What the program has to do
//
// A thread that comes back from KVM_RUN needs a free P of the Go scheduler:
// GOMAXPROCS must be larger than the number of other busy threads.
package vcpu
