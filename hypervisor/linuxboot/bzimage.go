package linuxboot

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"

	"gozen/hypervisor/platform"
)

// Offsets in a bzImage and in the zero page (Linux, Documentation/arch/x86/
// boot.rst "The Real-Mode Kernel Header" and zero-page.rst). The header has the
// same offsets in both.
const (
	bzACPIRSDP     = 0x070 // zero page only, 8 bytes
	bzE820Entries  = 0x1e8 // zero page only, 1 byte
	bzSetupSects   = 0x1f1
	bzSyssize      = 0x1f4 // 16-byte units
	bzHeaderJump   = 0x201 // its operand gives the header's end
	bzMagicAt      = 0x202
	bzProtocol     = 0x206
	bzVersionPtr   = 0x20e // less 0x200
	bzLoader       = 0x210
	bzLoadFlags    = 0x211
	bzRamdiskImage = 0x218
	bzRamdiskSize  = 0x21c
	bzCmdLinePtr   = 0x228
	bzInitrdMax    = 0x22c
	bzXLoadFlags   = 0x236
	bzCmdlineSize  = 0x238
	bzPrefAddress  = 0x258
	bzInitSize     = 0x260
	bzE820Table    = 0x2d0 // zero page only
	bzHeaderMaxEnd = 0x290 // what follows the header in the zero page
	bzHeadBytes    = 0x290

	bzMagic         = "HdrS"
	bzMinProtocol   = 0x20c // 2.12: the first with xloadflags
	bzXLFKernel64   = 1 << 0
	bzLoadedHigh    = 1 << 0
	bzLoaderUnknown = 0xff    // a loader without an assigned number
	bzEntry64       = 0x200   // of the 64-bit entry, from the load address
	bzDefaultSects  = 4       // when the header says 0
	bzMaxVersion    = 128     // bytes looked at
	bzSector        = 0x200   // bytes
	bzMinLoad       = 1 << 20 // a kernel below it would lie over what Load writes
)

// bzImage is the header of a bzImage.
type bzImage struct {
	r           io.ReaderAt
	header      []byte // from bzSetupSects up to the header's end
	version     string
	kernelAt    int64 // of the protected-mode kernel in the file
	kernelBytes int64
	loadAddr    uint64
	initSize    uint64 // from loadAddr, needed until the kernel runs
	initrdMax   uint64 // highest address of an initrd's byte
	cmdlineMax  int
}

func isBzImage(head []byte) bool {
	return len(head) >= bzMagicAt+4 && string(head[bzMagicAt:bzMagicAt+4]) == bzMagic
}

func parseBzImage(r io.ReaderAt, size int64, head []byte) (*bzImage, error) {
	le := binary.LittleEndian
	if len(head) < bzHeadBytes {
		return nil, notKernel("the bzImage is cut off after %d bytes, within its header", size)
	}
	if p := le.Uint16(head[bzProtocol:]); p < bzMinProtocol {
		return nil, notKernel("the bzImage has boot protocol %d.%02d: need 2.12 or higher (Linux 3.8)", p>>8, p&0xff)
	}
	if le.Uint16(head[bzXLoadFlags:])&bzXLFKernel64 == 0 {
		return nil, notKernel("the bzImage has no 64-bit entry: it is a 32-bit kernel")
	}
	headerEnd := bzMagicAt + int(head[bzHeaderJump])
	if headerEnd < bzInitSize+4 || headerEnd > bzHeaderMaxEnd {
		return nil, notKernel("the bzImage's header ends at %#x: not between %#x and %#x", headerEnd, bzInitSize+4, bzHeaderMaxEnd)
	}
	sects := int64(head[bzSetupSects])
	if sects == 0 {
		sects = bzDefaultSects
	}
	b := &bzImage{
		r:           r,
		header:      head[bzSetupSects:headerEnd],
		kernelAt:    (sects + 1) * bzSector,
		kernelBytes: int64(le.Uint32(head[bzSyssize:])) * 16,
		loadAddr:    le.Uint64(head[bzPrefAddress:]),
		initSize:    uint64(le.Uint32(head[bzInitSize:])),
		initrdMax:   uint64(le.Uint32(head[bzInitrdMax:])),
		cmdlineMax:  int(min(le.Uint32(head[bzCmdlineSize:]), cmdlineBytes-1)),
	}
	if b.kernelBytes <= bzEntry64 {
		return nil, notKernel("the bzImage's kernel has %d bytes: too few for a 64-bit entry", b.kernelBytes)
	}
	if end := b.kernelAt + b.kernelBytes; end > size {
		return nil, notKernel("the bzImage is cut off: it has %d bytes and its header says %d", size, end)
	}
	if b.loadAddr < bzMinLoad || b.loadAddr%pageSize != 0 || b.loadAddr >= platform.LowRAMEnd {
		return nil, notKernel("the bzImage wants to be loaded at %#x", b.loadAddr)
	}
	if b.initSize < uint64(b.kernelBytes) {
		return nil, notKernel("the bzImage says that its %d bytes need %d to start", b.kernelBytes, b.initSize)
	}
	var err error
	b.version, err = bzVersion(r, size, int64(le.Uint16(head[bzVersionPtr:])), b.kernelAt)
	return b, err
}

// bzVersion reads the first word of the version string, which lies in the
// real-mode part of the file, before kernelAt.
func bzVersion(r io.ReaderAt, size, ptr, kernelAt int64) (string, error) {
	at := ptr + 0x200
	if ptr == 0 || at >= kernelAt {
		return "", nil
	}
	s := make([]byte, min(bzMaxVersion, kernelAt-at, size-at))
	if err := readAt(r, s, at); err != nil {
		return "", err
	}
	if i := bytes.IndexAny(s, " \x00"); i >= 0 {
		s = s[:i]
	}
	// The file may come from anywhere, and the words go to terminals and logs.
	for _, c := range s {
		if c <= ' ' || c > '~' {
			return "", nil
		}
	}
	return strings.Clone(string(s)), nil
}

func (b *bzImage) info() Info {
	return Info{Kind: BzImage, Version: b.version, MinMemory: b.loadAddr + b.initSize, MaxCmdline: b.cmdlineMax}
}

// load places the kernel where it prefers to be. Any place above that would do
// for a relocatable kernel, but none below, so that it would not help a guest
// with too little memory.
func (b *bzImage) load(l *loader) (Entry, error) {
	if err := l.readFile("kernel", b.r, b.kernelAt, b.loadAddr, uint64(b.kernelBytes)); err != nil {
		return Entry{}, err
	}
	initrd, err := l.loadInitrd(b.loadAddr+b.initSize, b.initrdMax+1)
	if err != nil {
		return Entry{}, err
	}
	if err := l.writeCmdline(b.cmdlineMax); err != nil {
		return Entry{}, err
	}
	zp, err := l.memory.Slice(zeroPageAddr, pageSize)
	if err != nil {
		return Entry{}, err
	}
	clear(zp)
	le := binary.LittleEndian
	copy(zp[bzSetupSects:], b.header)
	zp[bzLoader] = bzLoaderUnknown
	zp[bzLoadFlags] |= bzLoadedHigh
	le.PutUint32(zp[bzRamdiskImage:], uint32(initrd.addr)) // below 4 GiB, as initrdMax is
	le.PutUint32(zp[bzRamdiskSize:], uint32(initrd.size))
	le.PutUint32(zp[bzCmdLinePtr:], cmdlineAddr)
	le.PutUint64(zp[bzACPIRSDP:], l.rsdp)
	zp[bzE820Entries] = byte(len(l.ranges))
	for i, r := range l.ranges {
		e := zp[bzE820Table+i*20:]
		le.PutUint64(e[0:], r.Addr)
		le.PutUint64(e[8:], r.Size)
		le.PutUint32(e[16:], uint32(r.Type))
	}
	entry, err := l.longMode()
	if err != nil {
		return Entry{}, err
	}
	entry.RIP = b.loadAddr + bzEntry64
	entry.RSI = zeroPageAddr
	return entry, nil
}
