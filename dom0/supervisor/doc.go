// Package supervisor is PID 1 of a Gozen host.
//
// It does what only PID 1 can do and nothing else: mounts the kernel's file
// systems, loads drivers, starts the daemon and starts it again when it ends,
// reaps every process that lost its parent (among them vmm processes, which
// outlive the daemon), and takes the machine down in order. What needs a network,
// a disk or a certificate is done by the daemon, so that a fault there is a
// restart and not the end of the machine.
//
// All decisions are taken by one goroutine (Supervisor.loop) that waits for
// messages: a child ended, somebody asks for a power-off, the daemon's turn to
// be started has come. Others only carry messages to it. A panic anywhere
// reboots the machine after a pause; should even that fail, the kernel panics
// because PID 1 ended, and kernel.panic=10 reboots it.
package supervisor
