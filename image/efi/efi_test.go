package efi

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

func readStub(t testing.TB) []byte {
	t.Helper()
	stub, err := os.ReadFile(StubFile)
	if err != nil {
		t.Fatalf("%v (make deps installs systemd-boot-efi)", err)
	}
	return stub
}

func TestUnify(t *testing.T) {
	parts := Parts{
		Kernel:    bytes.Repeat([]byte("kernel"), 5000),
		Initramfs: bytes.Repeat([]byte("initramfs"), 3333),
		Cmdline:   "panic=10 console=tty0",
		Version:   "1.2.3",
		Release:   "6.12.0-test",
	}
	out, err := Unify(StubFile, parts)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Unify(StubFile, parts)
	if err != nil || !bytes.Equal(out, again) {
		t.Errorf("the same parts give another file (%v)", err)
	}
	f, err := pe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	header := f.OptionalHeader.(*pe.OptionalHeader64)
	want := map[string]string{
		".linux": string(parts.Kernel), ".initrd": string(parts.Initramfs), ".cmdline": parts.Cmdline,
		".uname": parts.Release, ".osrel": "NAME=Gozen\nID=gozen\nVERSION_ID=1.2.3\nPRETTY_NAME=\"Gozen 1.2.3\"\n",
	}
	var end uint32 // of the section before, in memory
	for _, s := range f.Sections {
		if s.VirtualAddress < end {
			t.Errorf("%s lies over the section before it", s.Name)
		}
		end = s.VirtualAddress + s.VirtualSize
		content, ok := want[s.Name]
		if !ok {
			continue
		}
		delete(want, s.Name)
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		if string(data[:s.VirtualSize]) != content {
			t.Errorf("%s holds %d bytes that differ from the %d wanted", s.Name, s.VirtualSize, len(content))
		}
		if s.VirtualAddress%pageSize != 0 || s.Offset%header.FileAlignment != 0 {
			t.Errorf("%s is not aligned: address %#x, offset %#x", s.Name, s.VirtualAddress, s.Offset)
		}
	}
	if len(want) != 0 {
		t.Errorf("sections are missing: %v", want)
	}
	if header.SizeOfImage < end {
		t.Errorf("the image ends at %#x, its last section at %#x", header.SizeOfImage, end)
	}
}

func TestUnifyWithoutStub(t *testing.T) {
	if _, err := Unify("/nonexistent/stub", Parts{}); err == nil || !strings.Contains(err.Error(), "systemd-boot-efi") {
		t.Errorf("got %v, want an error that names the package", err)
	}
}

func TestJoinRefuses(t *testing.T) {
	stub := readStub(t)
	one := []Section{{".linux", []byte("x")}}
	change := func(at int, value byte) []byte {
		c := bytes.Clone(stub)
		c[int(binary.LittleEndian.Uint32(c[lfanewOffset:]))+at] = value
		return c
	}
	const machine, fileAlignment, subsystem, signature = 4, peHeaderSize + 37, peHeaderSize + 68, peHeaderSize + 112 + 4*8 + 4
	for _, c := range []struct {
		name     string
		stub     []byte
		sections []Section
		want     string
	}{
		{"not PE", []byte("#!/bin/sh\n" + strings.Repeat("x", 4096)), one, "EFI stub"},
		{"nothing", nil, one, "EFI stub"},
		{"cut", stub[:300], one, "EFI stub"},
		{"other machine", change(machine+1, 0x01), one, "EFI stub"},
		{"no EFI program", change(subsystem, 3), one, "64-bit x86"},
		{"no alignment", change(fileAlignment, 0), one, "alignment"},
		{"signed", change(signature, 1), one, "signed"},
		{"long name", stub, []Section{{".toolongname", []byte("x")}}, "1 to 8 bytes"},
		{"twice", stub, append(one, one...), "has one already"},
		{"the stub's own", stub, []Section{{".text", []byte("x")}}, "has one already"},
		{"empty", stub, []Section{{".linux", nil}}, "empty"},
		{"too many", stub, many(100), "room for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Join(c.stub, c.sections); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func many(n int) []Section {
	var s []Section
	for i := range n {
		s = append(s, Section{Name: "." + string(rune('a'+i/26)) + string(rune('a'+i%26)), Data: []byte("x")})
	}
	return s
}

func FuzzJoin(f *testing.F) {
	stub := readStub(f)
	f.Add(stub[:4096])
	f.Add(stub[:700])
	f.Fuzz(func(t *testing.T, stub []byte) {
		// A damaged stub is an error, never a panic.
		_, _ = Join(stub, []Section{{".linux", []byte("x")}})
	})
}
