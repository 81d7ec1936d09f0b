package work

// The instructions and system call sequences that Go cannot express. All are in
// instructions_amd64.s.

// cpuid executes CPUID.
//
//go:noescape
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// hypercall makes a hypercall n times, by VMCALL when intel is set, by VMMCALL
// otherwise, and returns the answer to the last. A processor without such an
// instruction raises an exception.
//
//go:noescape
func hypercall(n int, number uint64, intel bool) int64

// outb and outw write to a port.
//
//go:noescape
func outb(port uint16, value uint8)

//go:noescape
func outw(port uint16, value uint16)

// load16, load32, store16 and store32 access a device's register by exactly one
// instruction of that width.
//
//go:noescape
func load16(p *byte) uint16

//go:noescape
func load32(p *byte) uint32

//go:noescape
func store16(p *byte, v uint16)

//go:noescape
func store32(p *byte, v uint32)

// forkAndWait forks a child that exits at once, and waits for it. It returns the
// child's process ID, or an error number below zero. The child's end raises no
// signal, so Go's handler takes no part in the cost.
//
//go:noescape
func forkAndWait() int

// forkEcho forks a child that returns each byte from one descriptor to the other,
// until it is killed or its parent's thread ends. buf is a byte that parent and
// child each use for themselves. It returns the child's process ID, or an error
// number below zero; wait for it with __WALL.
//
//go:noescape
func forkEcho(in, out int, buf *byte) int

// pingPong sends n bytes, one at a time, and waits for each to come back. It
// returns how many of them it did not send and receive: 0 unless a call failed.
//
//go:noescape
func pingPong(in, out int, buf *byte, n int) int

// forkHypercall forks a child that makes one hypercall and exits with status 0.
// action is a zeroed struct kernel_sigaction (SIG_DFL): the child takes it for
// SIGILL, so that Go's handler does not report. It returns the child's process ID,
// or an error number below zero; wait for it with __WALL.
//
//go:noescape
func forkHypercall(action *[4]uint64, number uint64, intel bool) int
