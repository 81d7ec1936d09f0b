package sparse

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// MinRun is the length in bytes from which a run of zeros, on a boundary of that
	// many bytes, is treated as a hole.
	MinRun = 64 << 10
	// MaxChunk bounds a piece of data, in bytes (UploadChunk in gozen.proto).
	MaxChunk = 1 << 20
	// maxSkip is how much of a hole is gone through in one step, in bytes. Its digest
	// takes about a second at most.
	maxSkip = 256 << 20
)

// zeros is what a block is compared with, and what holes put into the digest.
var zeros [MaxChunk]byte

// ErrShort is wrapped when a file ends before its size.
var ErrShort = errors.New("became shorter while it was read")

// Reader hands out the data of a file of a known size, piece by piece.
type Reader struct {
	read    func(p []byte, at int64) error // fills p, or says why not
	extent  func(at int64) (start, end int64, err error)
	size    int64 // of the source
	total   int64 // with the hole behind it
	at      int64 // everything before is in the digest
	skipEnd int64 // the present hole's end
	dataEnd int64 // the present extent's end
	digest  hash.Hash
	buf     []byte
	finish  func() error // called at the end, may be nil

	pending   []byte // read and in the digest, not yet handed out
	pendingAt int64
}

// NewFile reads a file whose size in bytes is as given by Stat. The content is
// followed by a hole up to total, which is at least size.
func NewFile(f *os.File, size, total int64) *Reader {
	return newReader(size, total, func(p []byte, at int64) error {
		if _, err := f.ReadAt(p, at); err == io.EOF {
			return fmt.Errorf("%s %w", f.Name(), ErrShort)
		} else if err != nil {
			return err
		}
		return nil
	}, func(at int64) (int64, int64, error) { return extent(f, at, size) })
}

// NewStream reads a stream of at most total bytes. When it ends earlier, the rest
// is a hole; when it goes on, Next fails.
func NewStream(r io.Reader, total int64) *Reader {
	s := newReader(total, total, nil, func(at int64) (int64, int64, error) { return at, total, nil })
	s.read = func(p []byte, _ int64) error {
		n, err := io.ReadFull(r, p)
		switch err {
		case io.EOF, io.ErrUnexpectedEOF:
			// Nothing more will come: the rest is one hole.
			s.size = s.at + int64(n)
			s.dataEnd = min(s.dataEnd, s.size)
			return nil
		}
		return err
	}
	s.finish = func() error {
		if s.size < total {
			return nil
		}
		if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
			return fmt.Errorf("there is more than the %d bytes of --size", total)
		} else if err != io.EOF {
			return err
		}
		return nil
	}
	return s
}

func newReader(size, total int64, read func([]byte, int64) error, extent func(int64) (int64, int64, error)) *Reader {
	return &Reader{read: read, extent: extent, size: size, total: total, digest: sha256.New(), buf: make([]byte, MaxChunk)}
}

// extent returns the first range of data at or after at. File systems that know
// no holes say that all is data.
func extent(f *os.File, at, size int64) (start, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if info.Size() < size {
		return 0, 0, fmt.Errorf("%s %w", f.Name(), ErrShort)
	}
	start, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err == nil {
		end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return at, size, nil
	}
	return min(start, size), min(end, size), err
}

// Next returns the next piece of data and its offset. The slice is valid until
// the next call. It is empty inside large holes, so that the caller sees progress
// and can show a sign of life. At the end of the content it returns io.EOF.
func (r *Reader) Next() (data []byte, offset int64, err error) {
	for {
		if data, offset = r.take(); data != nil {
			return data, offset, nil
		}
		if r.at < r.skipEnd {
			if r.skip(); r.at < r.skipEnd {
				return nil, r.at, nil
			}
			continue
		}
		if r.at >= r.size {
			if r.at < r.total {
				r.skipEnd = r.total
				continue
			}
			if r.finish != nil {
				if err := r.finish(); err != nil {
					return nil, r.at, err
				}
			}
			return nil, r.at, io.EOF
		}
		if r.at >= r.dataEnd {
			start, end, err := r.extent(r.at)
			if err != nil {
				return nil, r.at, err
			}
			r.skipEnd, r.dataEnd = start, end
			continue
		}
		// Pieces end on boundaries of MinRun, wherever an extent began.
		n := min(MaxChunk-r.at%MinRun, r.dataEnd-r.at)
		r.pending, r.pendingAt = r.buf[:n], r.at
		if err := r.read(r.pending, r.at); err != nil {
			r.pending = nil
			return nil, r.at, err
		}
		n = min(n, r.size-r.at) // reading may have found the end of a stream
		r.pending = r.pending[:n]
		r.digest.Write(r.pending)
		r.at += n
	}
}

// take cuts the next run of blocks that are not all zeros off what was read, nil
// if there is none.
func (r *Reader) take() (data []byte, offset int64) {
	isZero := func(from int) (zero bool, end int) {
		// The first block may be short, up to the next boundary.
		end = min(from+MinRun-int((r.pendingAt+int64(from))%MinRun), len(r.pending))
		return bytes.Equal(r.pending[from:end], zeros[:end-from]), end
	}
	start := 0
	for start < len(r.pending) {
		zero, end := isZero(start)
		if !zero {
			break
		}
		start = end
	}
	stop := start
	for stop < len(r.pending) {
		zero, end := isZero(stop)
		if zero {
			break
		}
		stop = end
	}
	if start == stop {
		r.pending = nil
		return nil, 0
	}
	data, offset = r.pending[start:stop], r.pendingAt+int64(start)
	r.pending, r.pendingAt = r.pending[stop:], r.pendingAt+int64(stop)
	return data, offset
}

// Done returns how much of the content, holes included, was gone through.
func (r *Reader) Done() int64 { return r.at }

// Size returns the size of the source in bytes, without the hole behind it. That of
// a stream is known when Next has returned io.EOF.
func (r *Reader) Size() int64 { return r.size }

// Sum returns the SHA-256 of the content. It is that of the whole content once
// Next has returned io.EOF.
func (r *Reader) Sum() []byte { return r.digest.Sum(nil) }

// skip puts the next part of a hole into the digest.
func (r *Reader) skip() {
	for end := min(r.skipEnd, r.at+maxSkip); r.at < end; {
		n := min(end-r.at, int64(len(zeros)))
		r.digest.Write(zeros[:n])
		r.at += n
	}
}
