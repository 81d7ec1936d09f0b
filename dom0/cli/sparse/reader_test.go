package sparse

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// piece is a range of 'x' bytes in a content otherwise zero.
type piece struct{ at, n int64 }

func content(total int64, pieces []piece) []byte {
	out := make([]byte, total)
	for _, p := range pieces {
		for i := range p.n {
			out[p.at+i] = 'x'
		}
	}
	return out
}

// collect puts the pieces together again and checks every promise on the way.
func collect(t *testing.T, r *Reader, want []byte) (sent int64) {
	t.Helper()
	got := make([]byte, len(want))
	var end int64
	for {
		data, at, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			t.Fatal("an empty piece, but there is no large hole")
		}
		if len(data) > MaxChunk {
			t.Fatalf("a piece of %d bytes", len(data))
		}
		if at < end {
			t.Fatalf("piece at %d after one that ended at %d", at, end)
		}
		copy(got[at:], data)
		end = at + int64(len(data))
		sent += int64(len(data))
	}
	if !bytes.Equal(got, want) {
		t.Error("the pieces are not the content")
	}
	if sum := sha256.Sum256(want); !bytes.Equal(r.Sum(), sum[:]) {
		t.Error("the digest is not that of the content")
	}
	if r.Done() != int64(len(want)) {
		t.Errorf("done %d of %d", r.Done(), len(want))
	}
	return sent
}

var contents = []struct {
	name   string
	size   int64
	total  int64
	pieces []piece
	sent   int64 // at most, in blocks of MinRun
}{
	{"empty", 0, 0, nil, 0},
	{"only a hole", 3 << 20, 3 << 20, nil, 0},
	{"hole behind", 1000, 1 << 20, []piece{{0, 1000}}, 1000},
	{"full", 3<<20 + 7, 3<<20 + 7, []piece{{0, 3<<20 + 7}}, 3<<20 + 7},
	{"one byte at the end", 5 << 20, 5 << 20, []piece{{5<<20 - 1, 1}}, MinRun},
	{"zeros inside a chunk", 1 << 20, 1 << 20, []piece{{0, 10}, {512 << 10, 10}, {1<<20 - 10, 10}}, 3 * MinRun},
	{"across blocks", 1 << 20, 1 << 20, []piece{{MinRun - 1, 2}}, 2 * MinRun},
	{"odd places", 2<<20 + 13, 4 << 20, []piece{{4097, 1}, {1<<20 + 5000, 70000}, {2<<20 + 12, 1}}, 5 * MinRun},
}

func TestFile(t *testing.T) {
	for _, c := range contents {
		t.Run(c.name, func(t *testing.T) {
			want := content(c.total, c.pieces)
			// Once with holes as the file system keeps them, once with zeros written out.
			for _, holes := range []bool{true, false} {
				f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if holes {
					if err := f.Truncate(c.size); err != nil {
						t.Fatal(err)
					}
					for _, p := range c.pieces {
						if _, err := f.WriteAt(want[p.at:p.at+p.n], p.at); err != nil {
							t.Fatal(err)
						}
					}
				} else if _, err := f.Write(want[:c.size]); err != nil {
					t.Fatal(err)
				}
				if sent := collect(t, NewFile(f, c.size, c.total), want); sent > c.sent {
					t.Errorf("holes %v: %d bytes sent, want at most %d", holes, sent, c.sent)
				}
			}
		})
	}
}

func TestStream(t *testing.T) {
	for _, c := range contents {
		t.Run(c.name, func(t *testing.T) {
			want := content(c.total, c.pieces)
			// One byte at a time would be slow; odd lengths show the same faults.
			r := NewStream(&oddReader{r: bytes.NewReader(want[:c.size])}, c.total)
			if sent := collect(t, r, want); sent > c.sent {
				t.Errorf("%d bytes sent, want at most %d", sent, c.sent)
			}
		})
	}
}

// Large holes are gone through step by step.
func TestLargeHole(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const end = 2*maxSkip + 4096
	if _, err := f.WriteAt([]byte("x"), end); err != nil {
		t.Fatal(err)
	}
	r := NewFile(f, end+1, end+1)
	for _, want := range []struct{ at, n int64 }{{maxSkip, 0}, {2 * maxSkip, 0}} {
		data, at, err := r.Next()
		if err != nil || at != want.at || int64(len(data)) != want.n || r.Done() != at {
			t.Fatalf("%d bytes at %d, done %d, %v; want %d at %d", len(data), at, r.Done(), err, want.n, want.at)
		}
	}
	data, at, err := r.Next()
	if err != nil || at+int64(len(data)) != end+1 || data[len(data)-1] != 'x' {
		t.Fatalf("%d bytes at %d, %v", len(data), at, err)
	}
}

// oddReader returns short reads.
type oddReader struct{ r io.Reader }

func (o *oddReader) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 33333)]) }

func last(r *Reader) error {
	for {
		if _, _, err := r.Next(); err != nil {
			return err
		}
	}
}

func TestTooLongStream(t *testing.T) {
	err := last(NewStream(strings.NewReader("12345"), 4))
	if err == nil || !strings.Contains(err.Error(), "more than the 4 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestStreamError(t *testing.T) {
	broken := errors.New("broken pipe fitting")
	r := NewStream(io.MultiReader(strings.NewReader("abc"), &failing{broken}), 100)
	if err := last(r); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestShrinkingFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte("x"), 100)); err != nil {
		t.Fatal(err)
	}
	if err := last(NewFile(f, 200, 200)); !errors.Is(err, ErrShort) {
		// SEEK_DATA reports the end at 100, which must not pass for a hole.
		t.Errorf("got %v, want ErrShort", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(uint32(1<<20), uint32(70000), uint32(3), uint32(1<<19), uint32(65536))
	f.Add(uint32(0), uint32(0), uint32(0), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, size, at1, n1, at2, n2 uint32) {
		total := int64(size % (4 << 20))
		var pieces []piece
		for _, p := range []piece{{int64(at1), int64(n1)}, {int64(at2), int64(n2)}} {
			if total > 0 {
				p.at %= total
				p.n = min(p.n, total-p.at)
				pieces = append(pieces, p)
			}
		}
		want := content(total, pieces)
		file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := file.Truncate(total); err != nil {
			t.Fatal(err)
		}
		for _, p := range pieces {
			if _, err := file.WriteAt(want[p.at:p.at+p.n], p.at); err != nil {
				t.Fatal(err)
			}
		}
		collect(t, NewFile(file, total, total), want)
	})
}
