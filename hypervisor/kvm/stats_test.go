package kvm

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// statsBlock is a descriptor block as the kernel writes it.
func statsBlock(nameSize int, counters ...struct {
	name   string
	size   uint16
	offset uint32
}) []byte {
	var b []byte
	for _, c := range counters {
		d := make([]byte, statsDescSize+nameSize)
		binary.NativeEndian.PutUint16(d[6:], c.size)
		binary.NativeEndian.PutUint32(d[8:], c.offset)
		copy(d[statsDescSize:], c.name)
		b = append(b, d...)
	}
	return b
}

type counter = struct {
	name   string
	size   uint16
	offset uint32
}

func TestParseStats(t *testing.T) {
	b := statsBlock(48, counter{"exits", 1, 8}, counter{"halt_poll_hist", 32, 64}, counter{"halt_exits", 1, 0})
	got, size, err := parseStatsDescs(b, statsHeader{NameSize: 48, NumDesc: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := []statsCounter{{"exits", 8}, {"halt_exits", 0}}
	if !slices.Equal(got, want) || size != 16 {
		t.Errorf("%v in %d bytes, want %v in 16", got, size, want)
	}
}

func TestParseStatsRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		block []byte
		head  statsHeader
	}{
		"too short":            {statsBlock(8, counter{"a", 1, 0}), statsHeader{NameSize: 8, NumDesc: 2}},
		"name without an end":  {statsBlock(4, counter{"abcd", 1, 0}), statsHeader{NameSize: 4, NumDesc: 1}},
		"offset without bound": {statsBlock(8, counter{"a", 1, 1 << 31}), statsHeader{NameSize: 8, NumDesc: 1}},
	} {
		if _, _, err := parseStatsDescs(c.block, c.head); !errors.Is(err, errStatsFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var h statsHeader
	for name, words := range map[string][6]uint32{
		"no names":      {0, 0, 1, 0, 0, 0},
		"long names":    {0, 1 << 20, 1, 0, 0, 0},
		"many counters": {0, 48, 1 << 30, 0, 0, 0},
	} {
		var b []byte
		for _, w := range words {
			b = binary.NativeEndian.AppendUint32(b, w)
		}
		if err := parseStatsHeader(b, &h); !errors.Is(err, errStatsFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := parseStatsHeader(make([]byte, 23), &h); !errors.Is(err, errStatsFormat) {
		t.Errorf("short header: %v", err)
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add(statsBlock(48, counter{"exits", 1, 8}), uint32(48), uint32(1))
	f.Add([]byte{}, uint32(1), uint32(4096))
	f.Add(make([]byte, 64), uint32(16), uint32(2))
	f.Fuzz(func(t *testing.T, b []byte, nameSize, n uint32) {
		var head []byte
		for _, w := range []uint32{0, nameSize, n, 0, 0, 0} {
			head = binary.NativeEndian.AppendUint32(head, w)
		}
		var h statsHeader
		if parseStatsHeader(head, &h) != nil {
			return
		}
		counters, size, err := parseStatsDescs(b, h)
		if err != nil {
			return
		}
		for _, c := range counters {
			if c.offset < 0 || c.offset+8 > size {
				t.Errorf("counter %+v is outside %d bytes", c, size)
			}
		}
	})
}
