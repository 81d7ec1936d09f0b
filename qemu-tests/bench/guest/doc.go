// Command guest is the init of the benchmark's guests. It runs the workloads that
// the kernel's command line names and says on its console what it found.
//
//	bench.subject=NAME   whom the samples are of
//	bench.addr=IP/BITS   address of eth0
//	bench.tasks=T;T;…    what to do, in this order; a task is NAME or NAME:ARG,ARG…
//	bench.poweroff       power off at the end, instead of waiting
//
// The tasks:
//
//	cpu                     work.CPU
//	exits                   work.Exits
//	entropy                 work.Entropy
//	idle:SECONDS            nothing
//	touch:MIB               work.Touch; the count is the pages touched
//	disk:PREFIX,DEVICE      work.Fio.Disk, PREFIX being "file" or "raw"
//	diskcount:DEVICE,N      work.Fio.Count; the count is the reads made
//	net:PREFIX,IP           work.Net, PREFIX being "host" or "guest"
//	netcount:IP,N           work.SendDatagrams; the count is the datagrams sent
//	serve                   work.Serve on all addresses, until the guest ends
//
// What it writes, each line by one system call:
//
//	@up                  first of all, before it mounts anything
//	@begin TASK
//	@sample …, @failure …  as package measure has them
//	@end TASK COUNT      operations that the task did, 0 where that says nothing
//	@done
//
// A task that fails, panics or lasts too long is a failure line, and the next one
// runs. For 300 ms before and after @begin, and after @end, the guest is quiet and
// its console has no output left to write: counters that are read then have all
// exits of a task between them. The lines themselves cost exits, on a serial port
// one a byte; the task idle:0 has these and nothing else. Idle:N is quiet for N
// seconds beyond the pause after @begin, so that counters read within this pause
// and N seconds later are both of a quiet guest.
//
// Run by another than the kernel it does the same for tasks that are arguments, to
// compare with the host:
//
//	guest SUBJECT TASK…
//
// The garbage collector runs only between tasks.
package main
