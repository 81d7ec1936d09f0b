package linuxboot

import (
	"encoding/binary"
)

// PVH start info, version 1 (Xen, public/arch-x86/hvm/start_info.h).
const (
	pvhMagic      = 0x336ec578
	pvhVersion    = 1
	pvhInfoBytes  = 56
	pvhModuleAt   = startInfoAddr + 64  // hvm_modlist_entry, 32 bytes
	pvhMemmapAt   = startInfoAddr + 128 // hvm_memmap_table_entry, 24 bytes each
	pvhMemmapSize = 24
	pvhRoom       = zeroPageAddr - startInfoAddr
)

// load places each segment at its physical address and writes the start info.
// Fresh guest memory is zero, so that nothing is left to do for .bss.
func (e *elfImage) load(l *loader) (Entry, error) {
	for _, seg := range e.loads {
		if err := l.checkRAM("kernel", seg.paddr, seg.memsz); err != nil {
			return Entry{}, err
		}
		if err := l.readFile("kernel", e.r, seg.off, seg.paddr, seg.filesz); err != nil {
			return Entry{}, err
		}
	}
	initrd, err := l.loadInitrd(e.end, maxAddr32)
	if err != nil {
		return Entry{}, err
	}
	if err := l.writeCmdline(cmdlineBytes - 1); err != nil {
		return Entry{}, err
	}
	b, err := l.memory.Slice(startInfoAddr, pvhRoom)
	if err != nil {
		return Entry{}, err
	}
	clear(b)
	le := binary.LittleEndian
	le.PutUint32(b[0:], pvhMagic)
	le.PutUint32(b[4:], pvhVersion)
	if initrd.size > 0 {
		le.PutUint32(b[12:], 1)
		le.PutUint64(b[16:], pvhModuleAt)
		m := b[pvhModuleAt-startInfoAddr:]
		le.PutUint64(m[0:], initrd.addr)
		le.PutUint64(m[8:], initrd.size)
	}
	le.PutUint64(b[24:], cmdlineAddr)
	le.PutUint64(b[32:], l.rsdp)
	le.PutUint64(b[40:], pvhMemmapAt)
	le.PutUint32(b[48:], uint32(len(l.ranges)))
	for i, r := range l.ranges {
		m := b[pvhMemmapAt-startInfoAddr+i*pvhMemmapSize:]
		le.PutUint64(m[0:], r.Addr)
		le.PutUint64(m[8:], r.Size)
		le.PutUint32(m[16:], uint32(r.Type))
	}
	entry, err := l.protectedMode()
	if err != nil {
		return Entry{}, err
	}
	entry.RIP = e.entry
	entry.RBX = startInfoAddr
	return entry, nil
}
