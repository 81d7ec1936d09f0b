package writecache

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const testBlocks = 8

// newFile makes an empty disk of testBlocks blocks.
func newFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, testBlocks*BlockBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func testCache(t testing.TB, seed uint64) *cache {
	t.Helper()
	f, err := os.OpenFile(newFile(t), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c, err := newCache(f, rand.New(rand.NewPCG(seed, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sectors tells each sector's content by its byte; all bytes of one must be equal.
func sectors(t testing.TB, b []byte) []byte {
	t.Helper()
	var tags []byte
	for s := range slices.Chunk(b, sectorBytes) {
		if !bytes.Equal(s, bytes.Repeat(s[:1], sectorBytes)) {
			t.Fatalf("sector %d is torn", len(tags))
		}
		tags = append(tags, s[0])
	}
	return tags
}

func content(t testing.TB, c *cache) []byte {
	t.Helper()
	b := make([]byte, c.size)
	if err := c.read(b, 0); err != nil {
		t.Fatal(err)
	}
	return sectors(t, b)
}

func TestCut(t *testing.T) {
	const sector = sectorBytes
	write := func(tag byte, off, length int64, through bool) func(*cache) error {
		return func(c *cache) error { return c.write(bytes.Repeat([]byte{tag}, int(length)), off, through) }
	}
	zero := func(off, length int64, through bool) func(*cache) error {
		return func(c *cache) error { return c.zero(off, length, through) }
	}
	discard := func(off, length int64) func(*cache) error {
		return func(c *cache) error { return c.discard(off, length) }
	}
	for _, c := range []struct {
		name  string
		steps []func(*cache) error
		keep  float64
		want  map[int]byte // by sector; others are zero
		out   Outcome
	}{
		{"flushed", []func(*cache) error{write(1, 0, BlockBytes, false), (*cache).flush}, 0,
			map[int]byte{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}, Outcome{Flushes: 1}},
		{"not flushed, lost", []func(*cache) error{write(1, 0, 2*BlockBytes, false)}, 0, nil, Outcome{Lost: 2}},
		{"not flushed, kept", []func(*cache) error{write(1, sector, sector, false)}, 1, map[int]byte{1: 1}, Outcome{Kept: 1}},
		{"written after the flush", []func(*cache) error{write(1, 0, sector, false), (*cache).flush, write(2, 0, sector, false)}, 0,
			map[int]byte{0: 1}, Outcome{Lost: 1, Flushes: 1}},
		{"durable write", []func(*cache) error{write(1, 3*sector, sector, true)}, 0, map[int]byte{3: 1}, Outcome{}},
		{"durable write over another", []func(*cache) error{write(1, 0, sector, false), write(2, 0, sector, true)}, 1,
			map[int]byte{0: 2}, Outcome{}},
		{"over the border of blocks", []func(*cache) error{write(1, 7*sector, 2*sector, false)}, 1,
			map[int]byte{7: 1, 8: 1}, Outcome{Kept: 2}},
		{"zeros lost", []func(*cache) error{write(1, 0, 2*sector, true), zero(0, sector, false)}, 0,
			map[int]byte{0: 1, 1: 1}, Outcome{Lost: 1}},
		{"zeros kept", []func(*cache) error{write(1, 0, 2*sector, true), zero(0, sector, false)}, 1,
			map[int]byte{1: 1}, Outcome{Kept: 1}},
		{"durable zeros", []func(*cache) error{write(1, 0, 2*sector, true), zero(0, BlockBytes, true)}, 0, nil, Outcome{}},
		{"discard of whole blocks only", []func(*cache) error{write(1, 0, sector, true), write(2, 8*sector, sector, false), discard(sector, 2*BlockBytes)}, 1,
			map[int]byte{0: 1}, Outcome{}},
		{"discard within a block", []func(*cache) error{write(1, sector, sector, true), discard(sector, sector)}, 1,
			map[int]byte{1: 1}, Outcome{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := testCache(t, 1)
			for _, step := range c.steps {
				if err := step(cache); err != nil {
					t.Fatal(err)
				}
			}
			out, err := cache.cut(c.keep)
			if err != nil || out != c.out {
				t.Errorf("the cut: %+v, %v; want %+v", out, err, c.out)
			}
			for i, got := range content(t, cache) {
				if got != c.want[i] {
					t.Errorf("sector %d has %d, want %d", i, got, c.want[i])
				}
			}
		})
	}
}

// With the same seed the same blocks are lost; with many seeds every block is once.
func TestCutIsRandom(t *testing.T) {
	after := func(seed uint64) []byte {
		c := testCache(t, seed)
		if err := c.write(bytes.Repeat([]byte{1}, int(c.size)), 0, false); err != nil {
			t.Fatal(err)
		}
		if _, err := c.cut(0.5); err != nil {
			t.Fatal(err)
		}
		return content(t, c)
	}
	if a, b := after(7), after(7); !bytes.Equal(a, b) {
		t.Errorf("seed 7 gave %v and %v", a, b)
	}
	kept, lost := map[int]bool{}, map[int]bool{}
	for seed := range uint64(40) {
		for i, tag := range after(seed) {
			if tag == 1 {
				kept[i/8] = true
			} else {
				lost[i/8] = true
			}
		}
	}
	if len(kept) != testBlocks || len(lost) != testBlocks {
		t.Errorf("of %d blocks %d were kept at least once and %d lost", testBlocks, len(kept), len(lost))
	}
}

// An older version of a block that was never flushed may be the one that survives.
func TestOlderVersionMaySurvive(t *testing.T) {
	seen := map[byte]bool{}
	for seed := range uint64(40) {
		c := testCache(t, seed)
		for tag := byte(1); tag <= 2; tag++ {
			if err := c.write(bytes.Repeat([]byte{tag}, BlockBytes), 0, false); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.cut(0.5); err != nil {
			t.Fatal(err)
		}
		seen[content(t, c)[0]] = true
	}
	if len(seen) != 3 {
		t.Errorf("seen %v, want nothing, the older and the newer version", seen)
	}
}

// After any operations, reads give the newest content, and a cut leaves in each
// sector the content at the last flush or one written later.
func FuzzCache(f *testing.F) {
	f.Add([]byte{0, 0, 8, 1, 3, 7, 2, 0, 0}, uint64(1), byte(0))
	f.Add([]byte{0, 4, 9, 2, 5, 3, 4, 0, 0, 0, 4, 9, 3, 0, 64}, uint64(2), byte(128))
	f.Add([]byte{0, 0, 64, 4, 0, 0, 2, 8, 8, 0, 8, 8}, uint64(3), byte(255))
	f.Fuzz(func(t *testing.T, ops []byte, seed uint64, keep byte) {
		const total = testBlocks * BlockBytes / sectorBytes
		c := testCache(t, seed)
		may := make([][]byte, total) // what a sector may have after a cut; the last is newest
		for i := range may {
			may[i] = []byte{0}
		}
		for tag := byte(1); len(ops) >= 3 && tag < 255; tag++ {
			first := int(ops[1]) % total
			n := int(ops[2]) % (total - first + 1)
			off, length := int64(first)*sectorBytes, int64(n)*sectorBytes
			var err error
			through := ops[0]&0x80 != 0
			switch op := ops[0] & 0x7f % 4; op {
			case 0, 1:
				value := tag
				if op == 0 {
					err = c.write(bytes.Repeat([]byte{tag}, int(length)), off, through)
				} else {
					value = 0
					err = c.zero(off, length, through)
				}
				for i := first; i < first+n; i++ {
					may[i] = append(may[i], value)
					if through {
						may[i] = []byte{value}
					}
				}
			case 2:
				err = c.discard(off, length)
				for i := (first + 7) / 8 * 8; i < (first+n)/8*8; i++ {
					may[i] = []byte{0}
				}
			case 3:
				err = c.flush()
				for i := range may {
					may[i] = may[i][len(may[i])-1:]
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			ops = ops[3:]
		}
		for i, got := range content(t, c) {
			if newest := may[i][len(may[i])-1]; got != newest {
				t.Errorf("sector %d reads as %d, newest is %d", i, got, newest)
			}
		}
		if _, err := c.cut(float64(keep) / 255); err != nil {
			t.Fatal(err)
		}
		for i, got := range content(t, c) {
			if !bytes.Contains(may[i], []byte{got}) {
				t.Errorf("after the cut sector %d has %d, possible are %v", i, got, may[i])
			}
		}
	})
}
