package guesttest

import "encoding/binary"

// Kernel returns a file that passes for a bzImage, by its header (Linux,
// Documentation/arch/x86/boot.rst), and holds no code.
func Kernel() []byte {
	const (
		setup = 2 * 512 // the real-mode part: boot sector and one more
		code  = 0x400
	)
	b := make([]byte, setup+code)
	le := binary.LittleEndian
	b[0x1f1] = 1                         // setup_sects
	le.PutUint32(b[0x1f4:], code/16)     // syssize
	b[0x200], b[0x201] = 0xeb, 0x6a      // jump over the header
	copy(b[0x202:], "HdrS")              //
	le.PutUint16(b[0x206:], 0x20f)       // version
	le.PutUint16(b[0x20e:], 0x100)       // kernel_version, less 0x200
	b[0x211] = 1                         // loadflags: loaded high
	le.PutUint32(b[0x22c:], 0x7fff_ffff) // initrd_addr_max
	le.PutUint16(b[0x236:], 1)           // xloadflags: 64-bit entry
	le.PutUint32(b[0x238:], 2047)        // cmdline_size
	le.PutUint64(b[0x258:], 16<<20)      // pref_address
	le.PutUint32(b[0x260:], 8<<20)       // init_size
	copy(b[0x300:], "6.12.0-test (somebody) #1\x00")
	return b
}
