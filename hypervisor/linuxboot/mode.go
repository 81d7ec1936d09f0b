package linuxboot

import "encoding/binary"

// Segment descriptors (AMD64 Architecture Programmer's Manual 2, 4.7 and 4.8):
// flat, present, accessed. Linux's boot protocol wants the code segment to be
// selector 0x10 and the data segments 0x18.
const (
	descCode64 = 0x00af_9b00_0000_ffff
	descCode32 = 0x00cf_9b00_0000_ffff
	descData   = 0x00cf_9300_0000_ffff

	selCode  = 0x10
	selData  = 0x18
	gdtBytes = 4 * 8
)

// Page table bits (same manual, 5.3.3).
const (
	ptePresent  = 1 << 0
	pteWritable = 1 << 1
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteLarge    = 1 << 7 // 2 MiB, in the third level

	largePage = 2 << 20
	mappedGiB = 4
)

// longMode writes a descriptor table and page tables that map the first 4 GiB
// one to one with pages of 2 MiB, which every processor has.
func (l *loader) longMode() (Entry, error) {
	le := binary.LittleEndian
	b, err := l.memory.Slice(pageTableAddr, (2+mappedGiB)*pageSize)
	if err != nil {
		return Entry{}, err
	}
	clear(b)
	const table = ptePresent | pteWritable | pteAccessed
	le.PutUint64(b[0:], (pageTableAddr+pageSize)|table)
	for g := range mappedGiB {
		le.PutUint64(b[pageSize+g*8:], uint64(pageTableAddr+(2+g)*pageSize)|table)
	}
	for i := range mappedGiB * 512 {
		le.PutUint64(b[2*pageSize+i*8:], uint64(i)*largePage|table|pteDirty|pteLarge)
	}
	e, err := l.segments(descCode64)
	e.Long, e.CR3 = true, pageTableAddr
	return e, err
}

// protectedMode writes a descriptor table only.
func (l *loader) protectedMode() (Entry, error) { return l.segments(descCode32) }

func (l *loader) segments(code uint64) (Entry, error) {
	b, err := l.memory.Slice(gdtAddr, gdtBytes)
	if err != nil {
		return Entry{}, err
	}
	clear(b)
	binary.LittleEndian.PutUint64(b[selCode:], code)
	binary.LittleEndian.PutUint64(b[selData:], descData)
	return Entry{GDT: gdtAddr, GDTLimit: gdtBytes - 1, CS: selCode, DS: selData}, nil
}
