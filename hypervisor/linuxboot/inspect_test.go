package linuxboot

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	for _, tc := range []struct {
		name   string
		file   []byte
		format string
		memory uint64
	}{
		{"bzImage", newBzImage(), "bzImage 6.12.1-test (64-bit entry)", 20 << 20},
		{"ELF", newELF(), "ELF vmlinux (PVH)", 16<<20 + 0x1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			info, err := Inspect(bytes.NewReader(tc.file), int64(len(tc.file)))
			if err != nil {
				t.Fatal(err)
			}
			if info.Format() != tc.format || info.MinMemory != tc.memory || info.MaxCmdline != 2047 {
				t.Fatalf("%q, %+v; want %q and %d bytes", info.Format(), info, tc.format, tc.memory)
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	set := func(at int, b ...byte) func([]byte) []byte {
		return func(f []byte) []byte { copy(f[at:], b); return f }
	}
	cut := func(n int) func([]byte) []byte { return func(f []byte) []byte { return f[:n] } }
	const seg0, seg1 = elfHeadBytes, elfHeadBytes + elfPhentBytes
	for _, tc := range []struct {
		name   string
		file   []byte
		change func([]byte) []byte
		want   string
	}{
		{"empty", nil, func(b []byte) []byte { return nil }, "empty"},
		{"text", nil, func(b []byte) []byte { return []byte("#!/bin/sh\n") }, `neither a bzImage (no "HdrS" at 0x202) nor an ELF file`},
		{"disk", nil, func(b []byte) []byte { return make([]byte, 4096) }, "neither a bzImage"},

		{"bzImage cut in its header", newBzImage(), cut(0x230), "cut off"},
		{"bzImage cut in its kernel", newBzImage(), cut(0x500), "cut off: it has 1280 bytes and its header says 2048"},
		{"old protocol", newBzImage(), set(bzProtocol, 0x0b, 2), "boot protocol 2.11"},
		{"32-bit kernel", newBzImage(), set(bzXLoadFlags, 0), "32-bit"},
		{"header end", newBzImage(), set(bzHeaderJump, 0x10), "header ends"},
		{"header end beyond", newBzImage(), set(bzHeaderJump, 0xff), "header ends"},
		{"no kernel", newBzImage(), set(bzSyssize, 0, 0), "too few"},
		{"huge kernel", newBzImage(), set(bzSyssize, 0xff, 0xff, 0xff, 0xff), "cut off"},
		{"load address 0", newBzImage(), set(bzPrefAddress, 0, 0, 0, 0), "loaded at 0x0"},
		{"load address odd", newBzImage(), set(bzPrefAddress, 1), "loaded at"},
		{"load address high", newBzImage(), set(bzPrefAddress+4, 1), "loaded at"},
		{"init size", newBzImage(), set(bzInitSize, 1, 0, 0, 0), "to start"},

		{"ELF cut in its header", newELF(), cut(0x30), "cut off"},
		{"ELF cut in its table", newELF(), cut(0x50), "cut off"},
		{"ELF cut in a segment", newELF(), cut(0x280), "cut off"},
		{"32-bit ELF", newELF(), set(elfClass, 1), "x86-64"},
		{"big-endian ELF", newELF(), set(elfData, 2), "x86-64"},
		{"ELF for ARM", newELF(), set(elfMachine, 183), "x86-64"},
		{"object file", newELF(), set(elfType, 1), "type 1"},
		{"no program headers", newELF(), set(elfPhnum, 0), "program headers"},
		{"many program headers", newELF(), set(elfPhnum, 0xff, 0xff), "program headers"},
		{"odd program headers", newELF(), set(elfPhentsize, 32), "program headers"},
		{"program headers far off", newELF(), set(elfPhoff+7, 0x80), "cut off"},
		{"segment far off", newELF(), set(seg0+8+7, 0x80), "cut off"},
		{"segment smaller than its file part", newELF(), set(seg0+40, 0x10, 0), "bytes of memory"},
		{"segment low", newELF(), set(seg0+24, 0, 0, 0, 0), "loaded at"},
		{"segment high", newELF(), set(seg0+24+4, 1), "loaded at"},
		{"segment wraps", newELF(), set(seg0+40+7, 0xff), "loaded at"},
		{"no note", newELF(), set(seg1, 7), "no PVH entry"},
		{"note of another kind", newELF(), set(seg1+32, 40), "no PVH entry"},
		{"entry outside", newELF(), set(seg0+32, 8, 0), "in none of its segments"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := tc.change(tc.file)
			info, err := Inspect(bytes.NewReader(b), int64(len(b)))
			if !errors.Is(err, ErrNotKernel) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Inspect = %+v, %v; want ErrNotKernel with %q", info, err, tc.want)
			}
		})
	}
}

// The version goes to terminals: nothing but printable characters gets there.
func TestInspectHidesUnprintableVersion(t *testing.T) {
	b := newBzImage()
	copy(b[0x300:], "6.1\x1b[31m ")
	info, err := Inspect(bytes.NewReader(b), int64(len(b)))
	if err != nil || info.Version != "" || info.Format() != "bzImage (64-bit entry)" {
		t.Fatalf("Inspect = %+v, %v", info, err)
	}
}

func TestFindPVHEntry(t *testing.T) {
	note := func(size int) []byte { return le.AppendUint64(nil, 0x100_0000)[:size] }
	for _, tc := range []struct {
		name  string
		notes []byte
		entry uint64
		ok    bool
	}{
		{"four bytes", appendNote(nil, xenNoteName, xenNoteEntry, note(4)), 0x100_0000, true},
		{"eight bytes", appendNote(nil, xenNoteName, xenNoteEntry, note(8)), 0x100_0000, true},
		{"two bytes", appendNote(nil, xenNoteName, xenNoteEntry, note(2)), 0, false},
		{"above 4 GiB", appendNote(nil, xenNoteName, xenNoteEntry, []byte{0, 0, 0, 0, 1, 0, 0, 0}), 0, false},
		{"other name", appendNote(nil, "GNU\x00", xenNoteEntry, note(4)), 0, false},
		{"name longer than the notes", le.AppendUint32(nil, 0xffff_fff0), 0, false},
		{"huge sizes", bytes.Repeat([]byte{0xff}, 24), 0, false},
		{"nothing", nil, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if entry, ok := findPVHEntry(tc.notes, 4); entry != tc.entry || ok != tc.ok {
				t.Fatalf("findPVHEntry = %#x, %v", entry, ok)
			}
		})
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(newBzImage())
	f.Add(newELF())
	f.Add([]byte("#!/bin/sh"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Inspect(bytes.NewReader(b), int64(len(b)))
		if err == nil && (info.MinMemory == 0 || info.MaxCmdline > cmdlineBytes || info.Format() == "unknown") {
			t.Fatalf("Inspect = %+v", info)
		}
	})
}
