package measure

// Direction says which values are better.
type Direction int

// The directions.
const (
	LowerIsBetter Direction = iota
	HigherIsBetter
)

// Measure is an entry of the catalogue.
type Measure struct {
	Name   string // as samples name it
	Group  string // heading in the report
	Title  string // row in the report
	Unit   string // "", "exits", "ms", "KiB", "ns", "MiB/s", …
	Better Direction
	// Target in words, and as a bound when it is one: Limit on the value of gozen,
	// Ratio on gozen's value against the best peer's. Zero is no bound.
	Target string
	Limit  float64
	Ratio  float64
	// Against is how the names of the peers begin that Ratio is against; "" is all.
	Against string
	// Quick measures are taken by a quick run too: they do not depend on speed.
	Quick bool
	// PerHost divides the value by the sample of subject "host": an overhead.
	PerHost bool
}

// Groups in the order of the report.
const (
	GroupSize    = "Size"
	GroupStart   = "Start"
	GroupMemory  = "Memory"
	GroupDensity = "Density and rate"
	GroupCPU     = "CPU"
	GroupExits   = "Exit costs"
	GroupDisk    = "Disk"
	GroupNetwork = "Network"
	GroupEntropy = "Entropy"
)

// Catalogue lists all measures in the order of the report.
var Catalogue = []Measure{
	{Name: "size.efi", Group: GroupSize, Title: "the one file to boot", Unit: "MiB", Quick: true, Limit: 64, Target: "≤ 64"},
	{Name: "size.dom0", Group: GroupSize, Title: "PID 1 and daemon, resident, idle", Unit: "MiB", Quick: true, Limit: 96, Target: "≤ 96"},

	{Name: "start.exits", Group: GroupStart, Title: "VM exits until userspace, small kernel", Unit: "exits", Quick: true, Limit: 1000, Target: "≤ 1,000"},
	{Name: "start.user_exits", Group: GroupStart, Title: "of them to the VMM process", Unit: "exits", Quick: true},
	{Name: "start.syscalls", Group: GroupStart, Title: "system calls of the VMM until then", Unit: "calls", Quick: true},
	{Name: "start.cpu", Group: GroupStart, Title: "host CPU time until userspace, small kernel", Unit: "ms"},
	{Name: "start.wall", Group: GroupStart, Title: "time until userspace, small kernel", Unit: "ms", Ratio: 0.7, Target: "≤ 0.7 of the best peer"},
	{Name: "start.api", Group: GroupStart, Title: "the same, asked for by the API", Unit: "ms"},
	{Name: "debian.exits", Group: GroupStart, Title: "VM exits until login, Debian from disk", Unit: "exits"},
	{Name: "debian.cpu", Group: GroupStart, Title: "host CPU time until login, Debian from disk", Unit: "ms"},
	{Name: "debian.wall", Group: GroupStart, Title: "time until login, Debian from disk", Unit: "ms"},

	{Name: "memory.idle", Group: GroupMemory, Title: "private memory beyond guest RAM, idle", Unit: "KiB", Quick: true, Limit: 5 * 1024, Target: "≤ 5 MiB"},
	{Name: "memory.shared", Group: GroupMemory, Title: "shared program text resident, idle", Unit: "KiB", Quick: true},
	{Name: "memory.io", Group: GroupMemory, Title: "private memory beyond guest RAM, after I/O", Unit: "KiB"},

	{Name: "density.sequential", Group: GroupDensity, Title: "8 guests started one after another", Unit: "ms"},
	{Name: "density.parallel", Group: GroupDensity, Title: "8 guests started at once", Unit: "ms"},
	{Name: "density.fit", Group: GroupDensity, Title: "guests that fit in 1 GiB beyond their RAM", Unit: "guests", Better: HigherIsBetter, Quick: true},

	{Name: "cpu.compute", Group: GroupCPU, Title: "compute loop", Unit: "× host", PerHost: true, Limit: 1.02, Ratio: 1, Target: "≤ 1.02 on hardware; below the best peer emulated"},
	{Name: "cpu.memory", Group: GroupCPU, Title: "walk over 32 MiB", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},
	{Name: "cpu.syscall", Group: GroupCPU, Title: "system call", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},
	{Name: "cpu.fault", Group: GroupCPU, Title: "page fault", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},
	{Name: "cpu.switch", Group: GroupCPU, Title: "context switch, a pair", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},
	{Name: "cpu.fork", Group: GroupCPU, Title: "fork and exit", Unit: "× host", PerHost: true, Ratio: 1, Target: "below the best peer"},

	{Name: "exit.cpuid", Group: GroupExits, Title: "CPUID (answered by KVM)", Unit: "ns"},
	{Name: "exit.hypercall", Group: GroupExits, Title: "hypercall (answered by KVM)", Unit: "ns"},
	{Name: "exit.port", Group: GroupExits, Title: "port write nobody answers", Unit: "ns"},
	{Name: "exit.mmio", Group: GroupExits, Title: "MMIO write to a device register", Unit: "ns"},
	{Name: "exit.doorbell", Group: GroupExits, Title: "doorbell of a queue", Unit: "ns"},
	{Name: "exit.roundtrip", Group: GroupExits, Title: "doorbell to interrupt and back (entropy, 64 bytes)", Unit: "ns"},
	{Name: "exit.idle", Group: GroupExits, Title: "exits of an idle guest, a second and vCPU", Unit: "exits/s", Quick: true, Limit: 5, Target: "< 5"},

	{Name: "disk.file.randread.1", Group: GroupDisk, Title: "file, 4 KiB random read, depth 1", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.randread.4", Group: GroupDisk, Title: "file, 4 KiB random read, depth 4", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.randread.32", Group: GroupDisk, Title: "file, 4 KiB random read, depth 32", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.randwrite.1", Group: GroupDisk, Title: "file, 4 KiB random write, depth 1", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.randwrite.4", Group: GroupDisk, Title: "file, 4 KiB random write, depth 4", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.randwrite.32", Group: GroupDisk, Title: "file, 4 KiB random write, depth 32", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.read", Group: GroupDisk, Title: "file, 128 KiB sequential read", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.write", Group: GroupDisk, Title: "file, 128 KiB sequential write", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.file.fsync", Group: GroupDisk, Title: "file, 4 KiB write and fsync", Unit: "µs", Ratio: 1, Against: "qemu", Target: "≤ 1.0 of QEMU"},
	{Name: "disk.raw.randread.1", Group: GroupDisk, Title: "device, 4 KiB random read, depth 1", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.randread.4", Group: GroupDisk, Title: "device, 4 KiB random read, depth 4", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.randread.32", Group: GroupDisk, Title: "device, 4 KiB random read, depth 32", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.randwrite.1", Group: GroupDisk, Title: "device, 4 KiB random write, depth 1", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.randwrite.4", Group: GroupDisk, Title: "device, 4 KiB random write, depth 4", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.randwrite.32", Group: GroupDisk, Title: "device, 4 KiB random write, depth 32", Unit: "IOPS", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.read", Group: GroupDisk, Title: "device, 128 KiB sequential read", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.write", Group: GroupDisk, Title: "device, 128 KiB sequential write", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "disk.raw.fsync", Group: GroupDisk, Title: "device, 4 KiB write and fsync", Unit: "µs", Ratio: 1, Against: "qemu", Target: "≤ 1.0 of QEMU"},
	{Name: "disk.exits", Group: GroupDisk, Title: "exits a request (4 KiB random read, depth 32)", Unit: "exits", Quick: true},
	{Name: "disk.syscalls", Group: GroupDisk, Title: "system calls of the VMM a request (the same)", Unit: "calls", Quick: true},

	{Name: "net.host.send", Group: GroupNetwork, Title: "guest to dom0, TCP", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "net.host.receive", Group: GroupNetwork, Title: "dom0 to guest, TCP", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "net.host.latency", Group: GroupNetwork, Title: "guest to dom0, request and response", Unit: "µs", Ratio: 1, Against: "qemu", Target: "≤ 1.0 of QEMU"},
	{Name: "net.host.packets", Group: GroupNetwork, Title: "guest to dom0, 64-byte datagrams", Unit: "packets/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "net.host.exits", Group: GroupNetwork, Title: "exits a datagram", Unit: "exits", Quick: true},
	{Name: "net.guest.send", Group: GroupNetwork, Title: "guest to guest, TCP", Unit: "MiB/s", Better: HigherIsBetter, Ratio: 1, Against: "qemu", Target: "≥ 1.0 of QEMU"},
	{Name: "net.guest.latency", Group: GroupNetwork, Title: "guest to guest, request and response", Unit: "µs", Ratio: 1, Against: "qemu", Target: "≤ 1.0 of QEMU"},

	{Name: "entropy.rate", Group: GroupEntropy, Title: "bytes from the entropy device", Unit: "KiB/s", Better: HigherIsBetter},
}

// Lookup finds a measure by name.
func Lookup(name string) (Measure, bool) {
	for _, m := range Catalogue {
		if m.Name == name {
			return m, true
		}
	}
	return Measure{}, false
}
