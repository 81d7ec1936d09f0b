package vmmapi

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func newFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "ring"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestRingKeepsTheLastBytes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		writes []string
		want   string
		offset uint64
	}{
		{"nothing", nil, "", 0},
		{"less than capacity", []string{"ab", "cd"}, "abcd", 0},
		{"exactly full", []string{"abcdefgh"}, "abcdefgh", 0},
		{"wraps", []string{"abcdef", "ghijk"}, "defghijk", 3},
		{"one write longer than capacity", []string{"0123456789ABCDEF!"}, "9ABCDEF!", 9},
		{"long write after a short one", []string{"abc", "0123456789"}, "23456789", 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFile(t)
			w, err := CreateRing(f, 8)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range tc.writes {
				if _, err := w.Write([]byte(s)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := OpenRing(f)
			if err != nil {
				t.Fatal(err)
			}
			data, offset, err := r.Read(0, 0)
			if err != nil || string(data) != tc.want || offset != tc.offset {
				t.Fatalf("Read = %q at %d, %v; want %q at %d", data, offset, err, tc.want, tc.offset)
			}
		})
	}
}

func TestRingFollow(t *testing.T) {
	f := newFile(t)
	w, err := CreateRing(f, 100)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRing(f)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []byte
	var at uint64
	for i := range 50 {
		part := bytes.Repeat([]byte{byte('a' + i%26)}, 1+i)
		want = append(want, part...)
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		for {
			data, offset, err := r.Read(at, 7)
			if err != nil {
				t.Fatal(err)
			}
			if offset != at {
				t.Fatalf("follower at %d got bytes from %d", at, offset)
			}
			if len(data) == 0 {
				break
			}
			got, at = append(got, data...), offset+uint64(len(data))
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("followed %d bytes, want %d, equal %v", len(got), len(want), bytes.Equal(got, want))
	}
	if data, offset, err := r.Read(at+1000, 0); err != nil || len(data) != 0 || offset != at {
		t.Fatalf("Read past the end = %q at %d, %v; want nothing at %d", data, offset, err, at)
	}
}

// A second writer (the next vmm of the same guest) goes on where the first was.
func TestRingWriterGoesOn(t *testing.T) {
	f := newFile(t)
	w, err := CreateRing(f, 16)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("first ")); err != nil {
		t.Fatal(err)
	}
	w2, err := OpenRing(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w2.Write([]byte("second")); err != nil {
		t.Fatal(err)
	}
	data, _, err := w2.Read(0, 0)
	if err != nil || string(data) != "first second" {
		t.Fatalf("Read = %q, %v", data, err)
	}
	if n, err := w2.Total(); n != 12 || err != nil {
		t.Fatalf("Total = %d, %v", n, err)
	}
}

// Byte number n of the stream is always pattern(n), so that a reader beside the
// writer can tell a byte that was overwritten under it.
func TestRingReaderBesideWriter(t *testing.T) {
	pattern := func(n uint64) byte { return byte(n*31 + n>>8*17) }
	f := newFile(t)
	w, err := CreateRing(f, 512)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		n := uint64(0)
		for range 20000 {
			b := make([]byte, 1+rnd.IntN(200))
			for i := range b {
				b[i] = pattern(n)
				n++
			}
			if _, err := w.Write(b); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	r, err := OpenRing(f)
	if err != nil {
		t.Fatal(err)
	}
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		data, offset, err := r.Read(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range data {
			if n := offset + uint64(i); b != pattern(n) {
				t.Fatalf("byte %d is %#x, want %#x (read %d from %d)", n, b, pattern(n), len(data), offset)
			}
		}
	}
}

func TestOpenRingRefuses(t *testing.T) {
	sound := func() []byte {
		f := newFile(t)
		if _, err := CreateRing(f, 8); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tc := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"empty file", func(b []byte) []byte { return nil }},
		{"magic", func(b []byte) []byte { b[0] ^= 1; return b }},
		{"version", func(b []byte) []byte { b[8] = 2; return b }},
		{"no capacity", func(b []byte) []byte { b[16] = 0; return b }},
		{"huge capacity", func(b []byte) []byte { b[22] = 1; return b }},
		{"torn counters", func(b []byte) []byte { b[ringCounterAt] = 1; return b }},
		{"end past begin", func(b []byte) []byte { putCounters(b[ringCounterAt:], 1, 2); return b }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := OpenRing(memFile(tc.damage(sound()))); err == nil {
				t.Fatal("opened")
			}
		})
	}
	if _, err := CreateRing(newFile(t), 0); err == nil {
		t.Error("CreateRing with capacity 0 succeeded")
	}
	if _, err := CreateRing(newFile(t), MaxRingBytes+1); err == nil {
		t.Error("CreateRing with too much capacity succeeded")
	}
}

// A file cut short under sound counters is an error, not a short answer.
func TestRingShortFile(t *testing.T) {
	f := newFile(t)
	w, err := CreateRing(f, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(ringDataAt + 2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Read(0, 0); !errors.Is(err, ErrRing) {
		t.Fatalf("Read = %v, want ErrRing", err)
	}
}

// memFile is a read-only RingFile over bytes.
type memFile []byte

func (m memFile) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }
func (m memFile) WriteAt([]byte, int64) (int, error)      { return 0, errors.ErrUnsupported }

// A ring file comes from a process that may be under a guest's control.
func FuzzRing(f *testing.F) {
	f.Add([]byte{}, uint64(0), 0)
	file := newFile(f)
	w, err := CreateRing(file, 32)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("x"), 50)); err != nil {
		f.Fatal(err)
	}
	sound, err := os.ReadFile(file.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sound, uint64(20), 5)
	f.Fuzz(func(t *testing.T, b []byte, from uint64, limit int) {
		if len(b) > 1<<16 {
			return
		}
		r, err := OpenRing(memFile(b))
		if err != nil {
			return
		}
		data, offset, err := r.Read(from, limit)
		if err != nil {
			return
		}
		if len(data) > r.Capacity() || limit > 0 && len(data) > limit {
			t.Fatalf("read %d bytes of a ring of %d with limit %d", len(data), r.Capacity(), limit)
		}
		if total, err := r.Total(); err != nil || offset+uint64(len(data)) > total {
			t.Fatalf("read up to %d of %d bytes, %v", offset+uint64(len(data)), total, err)
		}
	})
}
