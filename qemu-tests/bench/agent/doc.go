// Command agent runs inside the emulated host of the benchmark. It starts guests in
// Gozen's vmm and in the peers' VMMs, one at a time, and reads off what they cost:
// exits from KVM's counters and tracepoints, system calls from the kernel's, memory
// from the process's maps, CPU time from the scheduler. All VMMs are read in the same
// way, from outside.
//
// PID 1 starts it in the place where a debug image has its shell. It obeys the
// launcher, which connects over the management network (package protocol).
package main
