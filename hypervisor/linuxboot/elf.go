package linuxboot

import (
	"encoding/binary"
	"io"

	"gozen/hypervisor/platform"
)

// ELF (System V gABI, chapters 4 and 5; x86-64 psABI) by hand: the standard
// library's reader brings decompressors and DWARF into the trusted base.
const (
	elfMagic      = "\x7fELF"
	elfHeadBytes  = 64
	elfClass      = 4 // offset in e_ident
	elfData       = 5
	elfClass64    = 2
	elfDataLSB    = 1
	elfType       = 16
	elfTypeExec   = 2
	elfTypeDyn    = 3
	elfMachine    = 18
	elfMachineX64 = 62
	elfPhoff      = 32
	elfPhentsize  = 54
	elfPhnum      = 56
	elfPhentBytes = 56

	elfPTLoad = 1
	elfPTNote = 4

	elfMaxSegments = 64
	elfMaxNotes    = 1 << 16 // bytes

	// XEN_ELFNOTE_PHYS32_ENTRY (Xen, public/elfnote.h): the physical address of
	// the PVH entry.
	xenNoteName  = "Xen\x00"
	xenNoteEntry = 18
)

// elfImage is an ELF file with a PVH entry.
type elfImage struct {
	r     io.ReaderAt
	entry uint64
	loads []elfSegment
	end   uint64 // of the last loaded byte in guest memory
}

type elfSegment struct {
	kind                     uint32
	off                      int64
	paddr, filesz, memsz, al uint64
}

func isELF(head []byte) bool {
	return len(head) >= len(elfMagic) && string(head[:len(elfMagic)]) == elfMagic
}

func parseELF(r io.ReaderAt, size int64, head []byte) (*elfImage, error) {
	le := binary.LittleEndian
	if len(head) < elfHeadBytes {
		return nil, notKernel("the ELF file is cut off after %d bytes, within its header", size)
	}
	if head[elfClass] != elfClass64 || head[elfData] != elfDataLSB || le.Uint16(head[elfMachine:]) != elfMachineX64 {
		return nil, notKernel("the ELF file is not for x86-64")
	}
	if t := le.Uint16(head[elfType:]); t != elfTypeExec && t != elfTypeDyn {
		return nil, notKernel("the ELF file is of type %d: not executable", t)
	}
	phoff, num := le.Uint64(head[elfPhoff:]), int64(le.Uint16(head[elfPhnum:]))
	if le.Uint16(head[elfPhentsize:]) != elfPhentBytes || num == 0 || num > elfMaxSegments {
		return nil, notKernel("the ELF file has %d program headers of %d bytes: need 1 to %d of %d",
			num, le.Uint16(head[elfPhentsize:]), elfMaxSegments, elfPhentBytes)
	}
	if phoff > uint64(size) || num*elfPhentBytes > size-int64(phoff) {
		return nil, notKernel("the ELF file is cut off: its program headers are at %#x and it has %d bytes", phoff, size)
	}
	table := make([]byte, num*elfPhentBytes)
	if err := readAt(r, table, int64(phoff)); err != nil {
		return nil, err
	}
	img := &elfImage{r: r}
	found := false
	for i := range num {
		seg, err := parseSegment(table[i*elfPhentBytes:], i, size)
		if err != nil {
			return nil, err
		}
		switch seg.kind {
		case elfPTLoad:
			if seg.memsz == 0 {
				continue
			}
			img.loads = append(img.loads, seg)
			img.end = max(img.end, seg.paddr+seg.memsz)
		case elfPTNote:
			if found || seg.filesz > elfMaxNotes {
				continue // kernels have small ones
			}
			notes := make([]byte, seg.filesz)
			if err := readAt(r, notes, seg.off); err != nil {
				return nil, err
			}
			img.entry, found = findPVHEntry(notes, seg.al)
		}
	}
	if !found {
		return nil, notKernel("the ELF file has no PVH entry (Xen note %d): a Linux kernel needs CONFIG_PVH=y for it", xenNoteEntry)
	}
	for _, seg := range img.loads {
		if img.entry >= seg.paddr && img.entry-seg.paddr < seg.filesz {
			return img, nil
		}
	}
	return nil, notKernel("the ELF file's PVH entry %#x is in none of its segments", img.entry)
}

func parseSegment(b []byte, i, size int64) (elfSegment, error) {
	le := binary.LittleEndian
	seg := elfSegment{
		kind:   le.Uint32(b[0:]),
		paddr:  le.Uint64(b[24:]),
		filesz: le.Uint64(b[32:]),
		memsz:  le.Uint64(b[40:]),
		al:     le.Uint64(b[48:]),
	}
	if seg.kind != elfPTLoad && seg.kind != elfPTNote {
		return seg, nil
	}
	off := le.Uint64(b[8:])
	if off > uint64(size) || seg.filesz > uint64(size)-off {
		return seg, notKernel("the ELF file is cut off: segment %d is at %#x+%#x and the file has %d bytes", i, off, seg.filesz, size)
	}
	seg.off = int64(off)
	if seg.kind != elfPTLoad || seg.memsz == 0 {
		return seg, nil
	}
	if seg.filesz > seg.memsz {
		return seg, notKernel("the ELF file's segment %d has %#x bytes for %#x bytes of memory", i, seg.filesz, seg.memsz)
	}
	if seg.paddr < minLoadAddr || seg.paddr >= platform.LowRAMEnd || seg.memsz > platform.LowRAMEnd-seg.paddr {
		return seg, notKernel("the ELF file's segment %d wants to be loaded at %#x+%#x: not between %#x and %#x",
			i, seg.paddr, seg.memsz, uint64(minLoadAddr), uint64(platform.LowRAMEnd))
	}
	return seg, nil
}

// findPVHEntry looks through notes: name size, descriptor size and type of four
// bytes each, then name and descriptor, both padded to the segment's alignment.
func findPVHEntry(notes []byte, align uint64) (uint64, bool) {
	le := binary.LittleEndian
	if align != 8 {
		align = 4
	}
	pad := func(n uint64) uint64 { return (n + align - 1) &^ (align - 1) }
	for len(notes) >= 12 {
		nameSize, descSize, kind := uint64(le.Uint32(notes[0:])), uint64(le.Uint32(notes[4:])), le.Uint32(notes[8:])
		descAt := pad(12 + nameSize)
		if descAt > uint64(len(notes)) || descSize > uint64(len(notes))-descAt {
			return 0, false
		}
		name, desc := notes[12:12+nameSize], notes[descAt:descAt+descSize]
		if string(name) == xenNoteName && kind == xenNoteEntry {
			switch descSize {
			case 4:
				return uint64(le.Uint32(desc)), true
			case 8:
				if e := le.Uint64(desc); e < 1<<32 {
					return e, true
				}
			}
			return 0, false
		}
		notes = notes[min(pad(descAt+descSize), uint64(len(notes))):]
	}
	return 0, false
}

func (e *elfImage) info() Info {
	return Info{Kind: ELF, MinMemory: e.end, MaxCmdline: cmdlineBytes - 1}
}
