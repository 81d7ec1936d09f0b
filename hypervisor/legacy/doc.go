// Package legacy holds the two devices at I/O ports that guests still like to
// have.
//
// Serial is as much of an 8250 as a kernel needs to print before it has drivers
// (earlycon=uart8250,io,0x3f8 on Linux): it transmits at once and never receives
// or interrupts. Its interrupt enable register reads as zero, by which a full
// driver sees that there is no UART it could run, and leaves the port alone. Each
// character costs an exit, so it is only for looking into a guest that does not
// boot.
//
// Panic is the port by which a guest's kernel reports its own crash (QEMU's
// pvpanic specification).
package legacy
