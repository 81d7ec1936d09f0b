package datadisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Label is the label of the file system that Gozen makes.
const Label = "gozen-data"

// edge is how much of the beginning and of the end of a blank disk must be zero,
// in bytes. All file systems, partition tables and volume managers have
// something there.
const edge = 1 << 20

// samples are looked at in between, sampleSize bytes each, for programs that
// use a disk without any of those.
const (
	samples    = 256
	sampleSize = 4096
)

// kind is what a disk holds.
type kind int

const (
	blank       kind = iota
	ours             // a file system of Gozen
	interrupted      // the same, but its making was cut short
	foreign          // anything else
)

// content is the answer of probe.
type content struct {
	kind kind
	what string // of foreign: in words
}

// Fields of an XFS superblock, at the beginning of the disk ("XFS Algorithms &
// Data Structures", Superblocks).
const (
	xfsMagic        = "XFSB"
	xfsLabelOffset  = 108
	xfsLabelSize    = 12
	xfsInProgOffset = 126
)

// signatures name what is often found. They only make the message better: a
// disk without any of them is still not blank if it is not zero.
var signatures = []struct {
	offset int
	magic  string
	name   string
}{
	{0, "LUKS\xba\xbe", "a LUKS encrypted volume"},
	{0, xfsMagic, "an XFS file system with another label"},
	{0, "hsqs", "a squashfs file system"},
	{512, "EFI PART", "a partition table (GPT)"},
	{4096, "EFI PART", "a partition table (GPT)"},
	{512, "LABELONE", "an LVM physical volume"},
	{536, "LVM2 001", "an LVM physical volume"},
	{1080, "\x53\xef", "an ext2, ext3 or ext4 file system"},
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system"},
	{3, "NTFS    ", "an NTFS file system"},
	{4086, "SWAPSPACE2", "swap space"},
	{4096, "\xfc\x4e\x2b\xa9", "a part of a Linux RAID"},
	{32769, "CD001", "an ISO 9660 file system"},
	{65600, "_BHRfS_M", "a btrfs file system"},
	{54, "FAT", "a FAT file system"},
	{82, "FAT32", "a FAT file system"},
	{510, "\x55\xaa", "a partition table or boot sector"},
}

// probe tells what a disk of size bytes holds.
func probe(disk io.ReaderAt, size int64) (content, error) {
	if size <= 0 {
		return content{}, errors.New("has no medium in it")
	}
	head := make([]byte, min(edge, size))
	if _, err := disk.ReadAt(head, 0); err != nil {
		return content{}, fmt.Errorf("reading its beginning: %w", err)
	}
	if c, ok := probeXFS(head); ok {
		return c, nil
	}
	for _, s := range signatures {
		if end := s.offset + len(s.magic); end <= len(head) && string(head[s.offset:end]) == s.magic {
			return content{foreign, s.name}, nil
		}
	}
	if !zero(head) {
		return content{foreign, "data of an unknown kind at its beginning"}, nil
	}
	tail := make([]byte, len(head))
	if _, err := disk.ReadAt(tail, size-int64(len(tail))); err != nil {
		return content{}, fmt.Errorf("reading its end: %w", err)
	}
	if !zero(tail) {
		return content{foreign, "data of an unknown kind at its end"}, nil
	}
	sample := make([]byte, sampleSize)
	for i := range int64(samples) {
		at := size / samples * i &^ (sampleSize - 1)
		if at+sampleSize > size {
			break
		}
		if _, err := disk.ReadAt(sample, at); err != nil {
			return content{}, fmt.Errorf("reading at byte %d: %w", at, err)
		}
		if !zero(sample) {
			return content{foreign, fmt.Sprintf("data of an unknown kind at byte %d", at)}, nil
		}
	}
	return content{kind: blank}, nil
}

// probeXFS recognises our own file system.
func probeXFS(head []byte) (content, bool) {
	if len(head) < 512 || string(head[:4]) != xfsMagic {
		return content{}, false
	}
	label := head[xfsLabelOffset : xfsLabelOffset+xfsLabelSize]
	if string(bytes.TrimRight(label, "\x00")) != Label {
		return content{}, false
	}
	if size := binary.BigEndian.Uint32(head[4:]); size < 512 || size > 1<<16 || size&(size-1) != 0 {
		return content{foreign, "a damaged XFS file system"}, true
	}
	if head[xfsInProgOffset] != 0 {
		return content{kind: interrupted}, true
	}
	return content{kind: ours}, true
}

func zero(p []byte) bool {
	return len(bytes.TrimLeft(p, "\x00")) == 0
}
