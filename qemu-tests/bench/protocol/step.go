package protocol

// Port is the TCP port of the agent on the host's management network.
const Port = 8444

// Places of the benchmark's files in the emulated host.
const (
	Dir        = "/bench"
	Kernel     = Dir + "/bzImage"
	KernelELF  = Dir + "/vmlinux"
	Initrd     = Dir + "/start.cpio" // the guest program and nothing else
	WorkInitrd = Dir + "/work.cpio"  // with fio
	VMM        = "/bin/vmm"
	// GuestProgram is the guests' init, for the same work on the host.
	GuestProgram = Dir + "/guest"

	DebianKernel = Dir + "/debian-vmlinuz"
	DebianInitrd = Dir + "/debian-initrd"
)

// Serial numbers of the emulated host's disks.
const (
	FileDisk   = "bench-file"   // holds a file system, disks are files on it
	RawDisk    = "bench-raw"    // given to guests as it is
	DebianDisk = "bench-debian" // is a copy of Debian's disk
)

// Done is the last line of the answer to a step.
const Done = "@step-done"

// Kind is a VMM whose command line the agent knows.
type Kind string

// The kinds.
const (
	Gozen           Kind = "gozen"
	QEMUMicroVM     Kind = "qemu-microvm"
	QEMUQ35         Kind = "qemu-q35"
	GoKVM           Kind = "gokvm"
	KVMTool         Kind = "kvmtool"
	Firecracker     Kind = "firecracker"
	CloudHypervisor Kind = "cloud-hypervisor"
	Crosvm          Kind = "crosvm"
	Host            Kind = "host" // no VMM: the same programs on the host
)

// Part is what a step measures.
type Part string

// The parts.
const (
	Start   Part = "start"   // time and CPU time until userspace
	Count   Part = "count"   // exits, system calls and memory until and after userspace
	Work    Part = "work"    // tasks in a guest, or on the host
	Pair    Part = "pair"    // tasks in a guest with another guest as its peer
	Density Part = "density" // several guests
	Debian  Part = "debian"  // Debian from its disk to its login
)

// Step is one thing to measure.
type Step struct {
	Part    Part     `json:"part"`
	Subject Kind     `json:"subject"`
	Program string   `json:"program"`         // of the VMM
	Tasks   []string `json:"tasks,omitempty"` // of Work and Pair, see package work
	// Quick leaves out what only time would tell.
	Quick bool `json:"quick,omitempty"`
	// Seconds bounds the step; 0 is the agent's own bound.
	Seconds int `json:"seconds,omitempty"`
}
