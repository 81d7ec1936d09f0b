package linuxboot

import (
	"errors"
	"fmt"
	"io"

	"gozen/hypervisor/platform"
	"gozen/pvdrivers/guestmem"
)

// Guest-physical addresses of what Load writes, see the package comment.
const (
	startInfoAddr = 0x6000
	zeroPageAddr  = 0x7000
	gdtAddr       = 0x8000
	pageTableAddr = 0x9000
	cmdlineAddr   = 0x2_0000
	minLoadAddr   = 0x10_0000

	lowAreaEnd = 0xa_0000 // conventional memory ends, as on a PC
	pageSize   = 0x1000
	maxAddr32  = 1 << 32

	// cmdlineBytes is Linux's COMMAND_LINE_SIZE on x86, with the final zero.
	cmdlineBytes = 2048
)

// ACPIBase and ACPISize are the guest-physical range that the memory map
// reserves for ACPI tables; a guest that scans for the RSDP looks there too.
const (
	ACPIBase = 0xe_0000
	ACPISize = 0x2_0000
)

// File is a file to load.
type File struct {
	io.ReaderAt
	Size int64 // bytes
}

// Params say what to load into a guest.
type Params struct {
	Memory  *guestmem.Memory
	Kernel  File
	Initrd  *File // nil when none
	Cmdline string
	RSDP    uint64 // guest-physical address of the ACPI root pointer
}

// Entry is the state in which the first vCPU starts. Everything not named here
// is as after reset or irrelevant to the kernel; interrupts are off.
type Entry struct {
	// Long says 64-bit mode with paging on, by CR3. Otherwise it is 32-bit
	// protected mode without paging.
	Long bool
	CR3  uint64

	RIP uint64
	RSI uint64 // zero page, for a bzImage
	RBX uint64 // start info, for PVH

	// Segments are flat; their descriptors are in the table at GDT.
	GDT      uint64
	GDTLimit uint16
	CS, DS   uint16 // selectors; DS is for all data segments
}

// ErrMemory is wrapped by errors that more guest memory would cure.
var ErrMemory = errors.New("guest has too little memory")

// Load reads kernel and initrd into guest memory and writes what the kernel
// expects beside them. The guest's memory must be fresh, that is zero.
func Load(p Params) (Entry, error) {
	l := &loader{memory: p.Memory, initrd: p.Initrd, cmdline: p.Cmdline, rsdp: p.RSDP, ranges: MemoryMap(p.Memory.Regions())}
	img, err := parse(p.Kernel, p.Kernel.Size)
	if err != nil {
		return Entry{}, fmt.Errorf("kernel: %w", err)
	}
	return img.load(l)
}

// loader is one Load under way.
type loader struct {
	memory  *guestmem.Memory
	initrd  *File
	cmdline string
	rsdp    uint64
	ranges  []Range
}

// lowRAM returns the end of the memory below 4 GiB.
func (l *loader) lowRAM() uint64 {
	var end uint64
	for _, r := range l.memory.Regions() {
		if r.GuestAddr < platform.LowRAMEnd {
			end = r.GuestAddr + r.Size
		}
	}
	return end
}

// checkRAM says whether the guest has memory at addr for size bytes.
func (l *loader) checkRAM(what string, addr, size uint64) error {
	if end := l.lowRAM(); addr+size > end {
		return fmt.Errorf("%s: %w: it ends at %d MiB and the %s needs memory up to %d MiB to start", what, ErrMemory,
			end>>20, what, (addr+size+1<<20-1)>>20)
	}
	return nil
}

// readFile reads size bytes of a file at off straight into guest memory.
func (l *loader) readFile(what string, r io.ReaderAt, off int64, addr, size uint64) error {
	if err := l.checkRAM(what, addr, size); err != nil {
		return err
	}
	b, err := l.memory.Slice(addr, size)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := readAt(r, b, off); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

type span struct{ addr, size uint64 }

// loadInitrd places the initrd as high as it may be, below limit, so that it is
// out of the kernel's way, and above kernelEnd.
func (l *loader) loadInitrd(kernelEnd, limit uint64) (span, error) {
	if err := l.checkRAM("kernel", kernelEnd, 0); err != nil {
		return span{}, err
	}
	if l.initrd == nil || l.initrd.Size == 0 {
		return span{}, nil
	}
	size, top := uint64(l.initrd.Size), min(limit, l.lowRAM())
	if size > top || (top-size)&^(pageSize-1) < kernelEnd {
		if limit < l.lowRAM() {
			return span{}, fmt.Errorf("initrd: its %d bytes do not fit between the kernel, which ends at %#x, and %#x, the highest address it takes",
				size, kernelEnd, limit)
		}
		return span{}, fmt.Errorf("initrd: %w: its %d bytes and the kernel together need %d MiB to start, the guest has %d", ErrMemory,
			size, (kernelEnd+size+pageSize+1<<20-1)>>20, l.lowRAM()>>20)
	}
	s := span{(top - size) &^ (pageSize - 1), size}
	return s, l.readFile("initrd", l.initrd, 0, s.addr, size)
}

// writeCmdline writes the command line and its final zero.
func (l *loader) writeCmdline(limit int) error {
	if len(l.cmdline) > limit {
		return fmt.Errorf("command line of %d bytes: this kernel takes at most %d", len(l.cmdline), limit)
	}
	b, err := l.memory.Slice(cmdlineAddr, cmdlineBytes)
	if err != nil {
		return err
	}
	clear(b)
	copy(b, l.cmdline)
	return nil
}
