package linuxboot

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/platform"
	"gozen/pvdrivers/guestmem"
)

var le = binary.LittleEndian

// newBzImage makes the smallest sound bzImage: one setup sector and a kernel of
// 0x400 bytes that wants to be at 16 MiB.
func newBzImage() []byte {
	b := make([]byte, 2*bzSector+0x400)
	b[bzSetupSects] = 1
	le.PutUint32(b[bzSyssize:], 0x400/16)
	b[bzHeaderJump] = 0x6a
	copy(b[bzMagicAt:], bzMagic)
	le.PutUint16(b[bzProtocol:], 0x20f)
	le.PutUint16(b[bzVersionPtr:], 0x100)
	copy(b[0x300:], "6.12.1-test (builder) #1 SMP\x00")
	b[bzLoadFlags] = bzLoadedHigh
	le.PutUint32(b[bzInitrdMax:], 0x7fff_ffff)
	le.PutUint16(b[bzXLoadFlags:], 0x7f)
	le.PutUint32(b[bzCmdlineSize:], 2047)
	le.PutUint64(b[bzPrefAddress:], 16<<20)
	le.PutUint32(b[bzInitSize:], 4<<20)
	for i := 2 * bzSector; i < len(b); i++ {
		b[i] = byte(i)
	}
	return b
}

// newELF makes a small sound vmlinux: one loaded segment of 0x100 bytes, with
// 0x1000 of memory, at 16 MiB, and a note with the PVH entry 0x10 into it.
func newELF() []byte {
	const loadAt, noteAt = 0x200, 0x180
	b := make([]byte, loadAt+0x100)
	copy(b, elfMagic)
	b[elfClass], b[elfData] = elfClass64, elfDataLSB
	le.PutUint16(b[elfType:], elfTypeExec)
	le.PutUint16(b[elfMachine:], elfMachineX64)
	le.PutUint64(b[elfPhoff:], elfHeadBytes)
	le.PutUint16(b[elfPhentsize:], elfPhentBytes)
	le.PutUint16(b[elfPhnum:], 2)
	ph := b[elfHeadBytes:]
	le.PutUint32(ph[0:], elfPTLoad)
	le.PutUint64(ph[8:], loadAt)
	le.PutUint64(ph[24:], 16<<20)
	le.PutUint64(ph[32:], 0x100)
	le.PutUint64(ph[40:], 0x1000)
	ph = ph[elfPhentBytes:]
	var notes []byte
	notes = appendNote(notes, "Linux\x00", 1, []byte("12345"))
	notes = appendNote(notes, xenNoteName, 2, make([]byte, 8))
	notes = appendNote(notes, xenNoteName, xenNoteEntry, le.AppendUint64(nil, 16<<20+0x10))
	le.PutUint32(ph[0:], elfPTNote)
	le.PutUint64(ph[8:], noteAt)
	le.PutUint64(ph[32:], uint64(len(notes)))
	le.PutUint64(ph[40:], uint64(len(notes)))
	le.PutUint64(ph[48:], 4)
	copy(b[noteAt:loadAt], notes)
	for i := loadAt; i < len(b); i++ {
		b[i] = byte(i)
	}
	return b
}

func appendNote(b []byte, name string, kind uint32, desc []byte) []byte {
	b = le.AppendUint32(b, uint32(len(name)))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, kind)
	for _, part := range []string{name, string(desc)} {
		b = append(b, part...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// newMemory makes guest memory of size bytes, laid out as on the platform.
func newMemory(t testing.TB, size uint64) *guestmem.Memory {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	regions := []guestmem.Region{{Size: min(size, platform.LowRAMEnd)}}
	if size > platform.LowRAMEnd {
		regions = append(regions, guestmem.Region{GuestAddr: platform.HighRAMBase, Size: size - platform.LowRAMEnd, Offset: platform.LowRAMEnd})
	}
	m, err := guestmem.Map(fd, regions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Unmap)
	return m
}

func file(b []byte) File { return File{bytes.NewReader(b), int64(len(b))} }

func guestBytes(t *testing.T, m *guestmem.Memory, addr, n uint64) []byte {
	t.Helper()
	b, err := m.Slice(addr, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
