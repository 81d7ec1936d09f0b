package main

import (
	"os"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/seccomp"
	"gozen/pvdrivers/vhost"
)

// confine leaves the process, all of its threads and all they will make, the
// system calls that a running guest needs. Any other kills the process. It comes
// before the first vCPU runs: from then on a guest may have taken over whatever
// it could break.
func confine() error { return filter(os.Getpid()).Load() }

// filter is the filter of a process with that identifier.
func filter(pid int) seccomp.Filter {
	var requests []uint32
	requests = append(requests, kvm.GuestRequests()...) // KVM_RUN, the most frequent, is the first
	requests = append(requests, vhost.Requests()...)
	requests = append(requests, deviceRequests...)
	f := seccomp.Filter{
		{Call: unix.SYS_IOCTL, Arg: 1, Values: requests},
		// Memory that can be executed cannot be had.
		{Call: unix.SYS_MMAP, Arg: 2, Without: unix.PROT_EXEC},
		{Call: unix.SYS_MPROTECT, Arg: 2, Without: unix.PROT_EXEC},
		// Threads of the Go runtime, but no process.
		{Call: unix.SYS_CLONE, Arg: 0, Values: []uint32{threadFlags}},
		// Signals go to this process's own threads: that is how a vCPU is kicked.
		{Call: unix.SYS_TGKILL, Arg: 0, Values: []uint32{uint32(pid)}},
		// The Go runtime names its memory for /proc/self/maps.
		{Call: unix.SYS_PRCTL, Arg: 0, Values: []uint32{unix.PR_SET_VMA}},
	}
	f = append(f, seccomp.Allow(dataCalls...)...)
	f = append(f, seccomp.Allow(runtimeCalls...)...)
	return append(f, seccomp.Allow(controlCalls...)...)
}

// threadFlags are the flags of clone with which the Go runtime makes a thread.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM |
	unix.CLONE_THREAD | unix.CLONE_SETTLS

// deviceRequests are the ioctl requests of devices.
var deviceRequests = []uint32{
	unix.BLKDISCARD, unix.BLKZEROOUT, // a disk on a block device
	unix.TUNSETOFFLOAD, unix.TUNSETVNETHDRSZ, unix.TUNSETVNETLE, // when a driver sets up a network device
}

// dataCalls move the data of devices, ring and control connections between
// descriptors that are open.
var dataCalls = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV,
	unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2,
	unix.SYS_FDATASYNC, unix.SYS_FSYNC, unix.SYS_FALLOCATE, // flush and discard of disks
	unix.SYS_FSTAT, unix.SYS_LSEEK, unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_CLOSE, unix.SYS_FCNTL,
}

// runtimeCalls are those of the Go runtime: memory, threads, signals, timers, the
// network poller.
var runtimeCalls = []uint32{
	unix.SYS_MADVISE, unix.SYS_MUNMAP,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_FUTEX, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_YIELD,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_NANOSLEEP, unix.SYS_GETRANDOM,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
}

// controlCalls serve the control socket.
var controlCalls = []uint32{
	unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT,
	unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_SHUTDOWN,
}
