package seed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
)

// Limits of a partition table that is looked at.
const (
	maxEntries   = 1024
	maxEntrySize = 4096
)

var errNoGPT = errors.New("no GPT")

// efiSystem is the type of EFI system partitions,
// C12A7328-F81F-11D2-BA4B-00A0C93EC93B (UEFI 2.10, 5.3.3), as it stands on disk.
var efiSystem = [16]byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// partition is an entry of a GUID partition table.
type partition struct {
	number int // from 1, as in the kernel's names
	typ    [16]byte
	label  string
}

// mayHoldSeed tells whether a seed is looked for in the partition.
func (p partition) mayHoldSeed() bool { return p.typ == efiSystem || p.label == seedLabel }

// readGPT reads the primary table of a disk with the given logical block size
// (UEFI 2.10, 5.3). The kernel checks sums before it makes partitions of the
// entries, so this does not.
func readGPT(disk io.ReaderAt, blockSize int) ([]partition, error) {
	if blockSize < 512 || blockSize > 1<<16 {
		return nil, fmt.Errorf("block size %d", blockSize)
	}
	header := make([]byte, 92)
	if _, err := disk.ReadAt(header, int64(blockSize)); err != nil {
		return nil, err
	}
	if !bytes.Equal(header[:8], []byte("EFI PART")) {
		return nil, errNoGPT
	}
	lba := binary.LittleEndian.Uint64(header[72:])
	count := binary.LittleEndian.Uint32(header[80:])
	size := binary.LittleEndian.Uint32(header[84:])
	if lba < 2 || lba > 1<<40 || count > maxEntries || size < 128 || size > maxEntrySize {
		return nil, fmt.Errorf("GPT with %d entries of %d bytes at block %d", count, size, lba)
	}
	table := make([]byte, count*size)
	if _, err := disk.ReadAt(table, int64(lba)*int64(blockSize)); err != nil {
		return nil, err
	}
	var out []partition
	for i := range int(count) {
		entry := table[i*int(size):][:128]
		p := partition{number: i + 1, label: label(entry[56:128])}
		copy(p.typ[:], entry)
		if p.typ != [16]byte{} {
			out = append(out, p)
		}
	}
	return out, nil
}

// label decodes a partition's name, UTF-16 ended by zero.
func label(raw []byte) string {
	var units []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		u := binary.LittleEndian.Uint16(raw[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
