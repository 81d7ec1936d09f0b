package efi

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Section is a part of the file that the stub finds by name.
type Section struct {
	Name string // at most 8 bytes: ".linux", ".initrd", ".cmdline", ".osrel", ".uname"
	Data []byte
}

// Offsets in a PE32+ file (PE Format, "Optional Header" and "Section Table").
const (
	lfanewOffset = 0x3c // in the DOS header: where the PE header is
	peHeaderSize = 24   // signature and COFF header

	// From the PE header:
	numberOfSections = 6
	// From the optional header:
	sizeOfInitializedData = 8
	sizeOfImage           = 56
	checksum              = 64

	sectionHeaderSize = 40
)

// pageSize is the alignment that sections get in memory: the stub hands them to
// the kernel as they lie.
const pageSize = 4096

// Join returns the stub with the sections added in their order. It refuses a stub
// that is signed or is no 64-bit x86 EFI program, or has no room for the headers.
func Join(stub []byte, sections []Section) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, fmt.Errorf("EFI stub: %w", err)
	}
	header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 || header.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION {
		return nil, errors.New("EFI stub: not an EFI application for 64-bit x86")
	}
	if a := header.FileAlignment; a < 512 || a > 64<<10 || a&(a-1) != 0 {
		return nil, fmt.Errorf("EFI stub: damaged: file alignment %d", a)
	}
	if int64(header.SizeOfHeaders) > int64(len(stub)) {
		return nil, fmt.Errorf("EFI stub: damaged: a header of %d bytes in a file of %d", header.SizeOfHeaders, len(stub))
	}
	if header.NumberOfRvaAndSizes > 4 && header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size != 0 {
		return nil, errors.New("EFI stub: it is signed; sections must be added before signing")
	}
	if err := check(f, sections); err != nil {
		return nil, err
	}
	lfanew := binary.LittleEndian.Uint32(stub[lfanewOffset:])
	optional := lfanew + peHeaderSize
	table := optional + uint32(f.SizeOfOptionalHeader)
	at := table + uint32(len(f.Sections))*sectionHeaderSize
	if end := at + uint32(len(sections))*sectionHeaderSize; end > header.SizeOfHeaders {
		return nil, fmt.Errorf("EFI stub: its header has room for %d more sections, %d are wanted",
			(header.SizeOfHeaders-at)/sectionHeaderSize, len(sections))
	}

	out := bytes.Clone(stub)
	address := roundUp(uint64(header.SizeOfImage), pageSize)
	initialized := uint64(header.SizeOfInitializedData)
	for _, s := range sections {
		out = append(out, make([]byte, roundUp(uint64(len(out)), uint64(header.FileAlignment))-uint64(len(out)))...)
		start := uint64(len(out))
		raw := roundUp(uint64(len(s.Data)), uint64(header.FileAlignment))
		if start+raw > math.MaxUint32 || address+raw > math.MaxUint32 {
			return nil, fmt.Errorf("section %s: the file grows over 4 GiB", s.Name)
		}
		h := out[at : at+sectionHeaderSize]
		clear(h)
		copy(h, s.Name)
		binary.LittleEndian.PutUint32(h[8:], uint32(len(s.Data)))
		binary.LittleEndian.PutUint32(h[12:], uint32(address))
		binary.LittleEndian.PutUint32(h[16:], uint32(raw))
		binary.LittleEndian.PutUint32(h[20:], uint32(start))
		binary.LittleEndian.PutUint32(h[36:], pe.IMAGE_SCN_CNT_INITIALIZED_DATA|pe.IMAGE_SCN_MEM_READ)
		at += sectionHeaderSize
		out = append(out, s.Data...)
		out = append(out, make([]byte, raw-uint64(len(s.Data)))...)
		address = roundUp(address+uint64(len(s.Data)), pageSize)
		initialized += raw
	}
	binary.LittleEndian.PutUint16(out[lfanew+numberOfSections:], uint16(len(f.Sections)+len(sections)))
	binary.LittleEndian.PutUint32(out[optional+sizeOfInitializedData:], uint32(initialized))
	binary.LittleEndian.PutUint32(out[optional+sizeOfImage:], uint32(address))
	// Firmware does not look at it, and signing computes it anew.
	binary.LittleEndian.PutUint32(out[optional+checksum:], 0)
	return out, nil
}

// check refuses names that the section table cannot hold, or has already.
func check(f *pe.File, sections []Section) error {
	taken := make(map[string]bool)
	for _, s := range f.Sections {
		taken[s.Name] = true
	}
	for _, s := range sections {
		switch {
		case s.Name == "" || len(s.Name) > 8:
			return fmt.Errorf("section %q: a name has 1 to 8 bytes", s.Name)
		case taken[s.Name]:
			return fmt.Errorf("section %s: the file has one already", s.Name)
		case len(s.Data) == 0:
			return fmt.Errorf("section %s: empty", s.Name)
		}
		taken[s.Name] = true
	}
	return nil
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
