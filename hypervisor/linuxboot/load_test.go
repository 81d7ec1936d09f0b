package linuxboot

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"gozen/hypervisor/platform"
	"gozen/pvdrivers/guestmem"
)

const testRSDP = 0xe_0000

func TestLoadBzImage(t *testing.T) {
	m := newMemory(t, 64<<20)
	kernel, initrd := newBzImage(), bytes.Repeat([]byte("initrd"), 1000)
	initrdFile := file(initrd)
	e, err := Load(Params{Memory: m, Kernel: file(kernel), Initrd: &initrdFile, Cmdline: "console=hvc0", RSDP: testRSDP})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Long || e.RIP != 16<<20+0x200 || e.RSI != zeroPageAddr {
		t.Fatalf("entry %+v", e)
	}
	if !bytes.Equal(guestBytes(t, m, 16<<20, 0x400), kernel[2*bzSector:]) {
		t.Error("the kernel is not at its place")
	}
	zp := guestBytes(t, m, zeroPageAddr, pageSize)
	if !bytes.Equal(zp[bzMagicAt:bzMagicAt+4], []byte(bzMagic)) || zp[bzLoader] != 0xff || zp[0x1ef] != 0 {
		t.Error("the zero page has no sound header")
	}
	if got := le.Uint64(zp[bzACPIRSDP:]); got != testRSDP {
		t.Errorf("acpi_rsdp_addr %#x", got)
	}
	at, size := uint64(le.Uint32(zp[bzRamdiskImage:])), uint64(le.Uint32(zp[bzRamdiskSize:]))
	if size != uint64(len(initrd)) || at%pageSize != 0 || at+size > 64<<20 || at+size+pageSize <= 64<<20 {
		t.Errorf("initrd at %#x+%#x: not at the end of memory", at, size)
	}
	if !bytes.Equal(guestBytes(t, m, at, size), initrd) {
		t.Error("the initrd is not at its place")
	}
	if cmdline := guestBytes(t, m, uint64(le.Uint32(zp[bzCmdLinePtr:])), 13); string(cmdline) != "console=hvc0\x00" {
		t.Errorf("command line %q", cmdline)
	}
	ranges := MemoryMap(m.Regions())
	if int(zp[bzE820Entries]) != len(ranges) {
		t.Fatalf("%d memory ranges, want %d", zp[bzE820Entries], len(ranges))
	}
	for i, r := range ranges {
		b := zp[bzE820Table+20*i:]
		if got := (Range{le.Uint64(b), le.Uint64(b[8:]), RangeType(le.Uint32(b[16:]))}); got != r {
			t.Errorf("memory range %d is %+v, want %+v", i, got, r)
		}
	}
}

// Walks the page tables as the processor would.
func TestLongModeMapsFourGiB(t *testing.T) {
	m := newMemory(t, 32<<20)
	e, err := Load(Params{Memory: m, Kernel: file(newBzImage())})
	if err != nil {
		t.Fatal(err)
	}
	const addrMask = 0x000f_ffff_ffff_f000
	for _, va := range []uint64{0, 0x7123, 16 << 20, 1<<30 - 1, 1 << 30, 3<<30 + 0x1234567, 4<<30 - 1} {
		table := e.CR3
		for _, shift := range []int{39, 30} {
			pte := le.Uint64(guestBytes(t, m, table+(va>>shift&511)*8, 8))
			if pte&3 != 3 || pte&pteLarge != 0 {
				t.Fatalf("%#x: entry %#x", va, pte)
			}
			table = pte & addrMask
		}
		pte := le.Uint64(guestBytes(t, m, table+(va>>21&511)*8, 8))
		if pte&3 != 3 || pte&pteLarge == 0 || pte&addrMask&^(largePage-1)|va&(largePage-1) != va {
			t.Fatalf("%#x maps by %#x", va, pte)
		}
	}
	if le.Uint64(guestBytes(t, m, e.GDT+uint64(e.CS), 8)) != descCode64 || e.GDTLimit < e.DS+7 {
		t.Errorf("no 64-bit code segment: %+v", e)
	}
}

func TestLoadELF(t *testing.T) {
	m := newMemory(t, 32<<20)
	kernel, initrd := newELF(), []byte("an initrd")
	initrdFile := file(initrd)
	e, err := Load(Params{Memory: m, Kernel: file(kernel), Initrd: &initrdFile, Cmdline: "quiet", RSDP: testRSDP})
	if err != nil {
		t.Fatal(err)
	}
	if e.Long || e.RIP != 16<<20+0x10 || e.RBX != startInfoAddr || e.CR3 != 0 {
		t.Fatalf("entry %+v", e)
	}
	if !bytes.Equal(guestBytes(t, m, 16<<20, 0x100), kernel[0x200:]) {
		t.Error("the segment is not at its place")
	}
	si := guestBytes(t, m, startInfoAddr, pvhInfoBytes)
	if le.Uint32(si) != pvhMagic || le.Uint32(si[4:]) != 1 || le.Uint32(si[12:]) != 1 || le.Uint64(si[32:]) != testRSDP {
		t.Errorf("start info % x", si)
	}
	mod := guestBytes(t, m, le.Uint64(si[16:]), 32)
	if !bytes.Equal(guestBytes(t, m, le.Uint64(mod), le.Uint64(mod[8:])), initrd) {
		t.Error("the module list does not name the initrd")
	}
	if got := guestBytes(t, m, le.Uint64(si[24:]), 6); string(got) != "quiet\x00" {
		t.Errorf("command line %q", got)
	}
	ranges := MemoryMap(m.Regions())
	if n := le.Uint32(si[48:]); int(n) != len(ranges) {
		t.Fatalf("%d memory ranges, want %d", n, len(ranges))
	}
	for i, r := range ranges {
		b := guestBytes(t, m, le.Uint64(si[40:])+uint64(i)*24, 24)
		if got := (Range{le.Uint64(b), le.Uint64(b[8:]), RangeType(le.Uint32(b[16:]))}); got != r {
			t.Errorf("memory range %d is %+v, want %+v", i, got, r)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	short := newBzImage()
	le.PutUint32(short[bzCmdlineSize:], 255)
	lowInitrd := newBzImage()
	le.PutUint32(lowInitrd[bzInitrdMax:], 20<<20-1)
	for _, tc := range []struct {
		name    string
		kernel  []byte
		memory  uint64
		initrd  int
		cmdline string
		is      error
		want    string
	}{
		{"no kernel", []byte("text"), 32 << 20, 0, "", ErrNotKernel, "kernel: not a kernel"},
		{"little memory for a bzImage", newBzImage(), 18 << 20, 0, "", ErrMemory, "up to 20 MiB"},
		{"little memory for an ELF file", newELF(), 16 << 20, 0, "", ErrMemory, "up to 17 MiB"},
		{"little memory for the initrd", newBzImage(), 24 << 20, 5 << 20, "", ErrMemory, "need 26 MiB to start, the guest has 24"},
		{"initrd that the kernel cannot take", lowInitrd, 64 << 20, 1 << 20, "", nil, "do not fit"},
		{"long command line", newBzImage(), 32 << 20, 0, strings.Repeat("x", 2048), nil, "at most 2047"},
		{"command line longer than the kernel's", short, 32 << 20, 0, strings.Repeat("x", 256), nil, "at most 255"},
		{"long command line for an ELF file", newELF(), 32 << 20, 0, strings.Repeat("x", 2048), nil, "at most 2047"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			initrd := file(make([]byte, tc.initrd))
			_, err := Load(Params{Memory: newMemory(t, tc.memory), Kernel: file(tc.kernel), Initrd: &initrd, Cmdline: tc.cmdline})
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Load = %v; want %q", err, tc.want)
			}
		})
	}
}

// A file that shrinks between Inspect and Load.
func TestLoadShortFile(t *testing.T) {
	b := newBzImage()
	_, err := Load(Params{Memory: newMemory(t, 32<<20), Kernel: File{bytes.NewReader(b[:0x500]), int64(len(b))}})
	if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Fatalf("Load = %v", err)
	}
}

func TestMemoryMap(t *testing.T) {
	const end = platform.LowRAMEnd
	for _, tc := range []struct {
		name   string
		memory []guestmem.Region
		ram    uint64
	}{
		{"small", []guestmem.Region{{Size: 64 << 20}}, 64<<20 - (minLoadAddr - lowAreaEnd)},
		{"large", []guestmem.Region{{Size: end}, {GuestAddr: platform.HighRAMBase, Size: 5 << 30, Offset: end}}, end + 5<<30 - (minLoadAddr - lowAreaEnd)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var at, ram uint64
			covered := map[uint64]RangeType{}
			for _, r := range MemoryMap(tc.memory) {
				if r.Addr < at || r.Size == 0 {
					t.Fatalf("%+v: empty, out of order or overlapping", r)
				}
				at = r.Addr + r.Size
				covered[r.Addr] = r.Type
				if r.Type == RangeRAM {
					ram += r.Size
				}
			}
			if ram != tc.ram {
				t.Errorf("%d bytes of RAM, want %d", ram, tc.ram)
			}
			for _, a := range []uint64{ACPIBase, platform.ECAMBase, platform.KVMIdentityMap} {
				if covered[a] != RangeReserved {
					t.Errorf("%#x is not reserved", a)
				}
			}
		})
	}
}

// FuzzLoad looks for a file that gets past the bounds of guest memory.
func FuzzLoad(f *testing.F) {
	f.Add(newBzImage(), uint32(1000), "console=hvc0")
	f.Add(newELF(), uint32(0), "")
	m := newMemory(f, 32<<20)
	f.Fuzz(func(t *testing.T, kernel []byte, initrdSize uint32, cmdline string) {
		initrd := file(make([]byte, initrdSize%(8<<20)))
		e, err := Load(Params{Memory: m, Kernel: file(kernel), Initrd: &initrd, Cmdline: cmdline})
		if err != nil {
			return
		}
		if _, err := m.Slice(e.RIP, 1); err != nil {
			t.Fatalf("entry outside memory: %v", err)
		}
	})
}
