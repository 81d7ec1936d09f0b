package kvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"structs"

	"golang.org/x/sys/unix"
)

// statsHeader starts the file that KVM_GET_STATS_FD opens.
//
//abi:check struct kvm_stats_header
type statsHeader struct {
	_          structs.HostLayout
	Flags      uint32
	NameSize   uint32
	NumDesc    uint32
	IDOffset   uint32
	DescOffset uint32
	DataOffset uint32
}

// statsDesc describes one counter; its name follows it.
//
//abi:check struct kvm_stats_desc
type statsDesc struct {
	_          structs.HostLayout
	Flags      uint32
	Exponent   int16
	Size       uint16 // numbers of 64 bits: more than one for a histogram
	Offset     uint32 // bytes from the start of the data
	BucketSize uint32
}

// Sizes of the above in the file.
const (
	statsHeaderSize = 24
	statsDescSize   = 16
)

// Limits on what the kernel may report: far more than it does, and small enough
// that a damaged header cannot make us allocate without bound.
const (
	maxStatsName  = 256
	maxStatsDescs = 4096
)

var errStatsFormat = errors.New("not in the format of KVM's binary statistics")

// Stats are the kernel's counters of a VM or a vCPU (KVM_GET_STATS_FD). Read may
// be used while the vCPU runs.
type Stats struct {
	fd         int
	dataOffset int64
	counters   []statsCounter
	data       []byte
}

type statsCounter struct {
	name   string
	offset int // in data
}

func openStats(of int) (*Stats, error) {
	fd, err := ioctlNumber(of, ioctlGetStatsFD, "KVM_GET_STATS_FD", 0)
	if err != nil {
		return nil, err
	}
	s := &Stats{fd: fd}
	if err := s.describe(); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("KVM statistics: %w", err)
	}
	return s, nil
}

func (s *Stats) describe() error {
	var head [statsHeaderSize]byte
	if err := preadFull(s.fd, head[:], 0); err != nil {
		return err
	}
	var h statsHeader
	if err := parseStatsHeader(head[:], &h); err != nil {
		return err
	}
	descs := make([]byte, int(h.NumDesc)*(statsDescSize+int(h.NameSize)))
	if err := preadFull(s.fd, descs, int64(h.DescOffset)); err != nil {
		return err
	}
	counters, size, err := parseStatsDescs(descs, h)
	if err != nil {
		return err
	}
	s.dataOffset, s.counters, s.data = int64(h.DataOffset), counters, make([]byte, size)
	return nil
}

func parseStatsHeader(b []byte, h *statsHeader) error {
	if len(b) < statsHeaderSize {
		return errStatsFormat
	}
	for i, p := range []*uint32{&h.Flags, &h.NameSize, &h.NumDesc, &h.IDOffset, &h.DescOffset, &h.DataOffset} {
		*p = binary.NativeEndian.Uint32(b[4*i:])
	}
	if h.NameSize == 0 || h.NameSize > maxStatsName || h.NumDesc > maxStatsDescs {
		return fmt.Errorf("%d counters with names of %d bytes: %w", h.NumDesc, h.NameSize, errStatsFormat)
	}
	return nil
}

// parseStatsDescs returns the counters of a single number (histograms are left
// out) and how many bytes of data there are up to the last of them.
func parseStatsDescs(b []byte, h statsHeader) (counters []statsCounter, size int, err error) {
	step := statsDescSize + int(h.NameSize)
	for range h.NumDesc {
		if len(b) < step {
			return nil, 0, errStatsFormat
		}
		d := statsDesc{
			Size:   binary.NativeEndian.Uint16(b[6:]),
			Offset: binary.NativeEndian.Uint32(b[8:]),
		}
		name, _, found := bytes.Cut(b[statsDescSize:step], []byte{0})
		if !found || d.Offset > maxStatsDescs*8*64 {
			return nil, 0, errStatsFormat
		}
		if d.Size == 1 {
			counters = append(counters, statsCounter{string(name), int(d.Offset)})
			size = max(size, int(d.Offset)+8)
		}
		b = b[step:]
	}
	return counters, size, nil
}

// AddTo reads all counters of a single number and adds them to sum under the
// kernel's names. It is for one goroutine at a time.
func (s *Stats) AddTo(sum map[string]uint64) error {
	if err := preadFull(s.fd, s.data, s.dataOffset); err != nil {
		return fmt.Errorf("read KVM statistics: %w", err)
	}
	for _, c := range s.counters {
		sum[c.name] += binary.NativeEndian.Uint64(s.data[c.offset:])
	}
	return nil
}

// Value reads the one counter called name.
func (s *Stats) Value(name string) (uint64, error) {
	for _, c := range s.counters {
		if c.name != name {
			continue
		}
		var b [8]byte
		if err := preadFull(s.fd, b[:], s.dataOffset+int64(c.offset)); err != nil {
			return 0, fmt.Errorf("read KVM statistics: %w", err)
		}
		return binary.NativeEndian.Uint64(b[:]), nil
	}
	return 0, fmt.Errorf("KVM statistics: no counter %q", name)
}

// Close closes the statistics.
func (s *Stats) Close() error { return unix.Close(s.fd) }

func preadFull(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return errStatsFormat
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
