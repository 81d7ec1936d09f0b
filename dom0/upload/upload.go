package upload

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gozen/dom0/fault"
	"gozen/dom0/quantity"
	"gozen/dom0/state"
)

// MaxChunk is the most data one Write takes, in bytes.
const MaxChunk = 1 << 20

const tempPrefix = ".upload-"

// zeros are hashed in the place of holes.
var zeros [256 << 10]byte

// Upload is one file on its way in. It is for one goroutine.
type Upload struct {
	box  *Inbox
	name string
	what string // for messages: `volume "web"`
	f    *os.File
	dir  string // the inbox's
	size uint64
	next uint64 // everything before was received or skipped
	sum  hash.Hash
	done bool
}

func newUpload(b *Inbox, name string, size uint64) (*Upload, error) {
	f, err := os.CreateTemp(b.dir, tempPrefix)
	if err != nil {
		return nil, DiskError(b.what(name), b.dir, err)
	}
	u := &Upload{box: b, name: name, what: b.what(name), f: f, dir: b.dir, size: size, sum: sha256.New()}
	if err := f.Truncate(int64(size)); err != nil {
		u.remove()
		return nil, DiskError(u.what, u.dir, err)
	}
	return u, nil
}

// Write puts data at offset, which must not be below the end of what came before.
func (u *Upload) Write(offset uint64, data []byte) error {
	switch {
	case len(data) > MaxChunk:
		return fault.New(fault.Invalid, "%s: chunk of %d bytes: at most %d", u.what, len(data), MaxChunk)
	case offset < u.next:
		return fault.New(fault.Invalid, "%s: chunk at offset %d: offsets must rise, %d bytes were sent before", u.what, offset, u.next)
	case offset > u.size || uint64(len(data)) > u.size-offset:
		return fault.New(fault.Invalid, "%s: chunk at offset %d with %d bytes: the header said %d bytes in all", u.what, offset, len(data), u.size)
	}
	u.skip(offset)
	if err := writeSparse(u.f, data, int64(offset)); err != nil {
		return DiskError(u.what, u.dir, err)
	}
	u.sum.Write(data)
	u.next = offset + uint64(len(data))
	return nil
}

// File is the file so far, for looking into before Commit.
func (u *Upload) File() io.ReaderAt { return u.f }

// Verify ends the writing: it compares the digest and makes the content durable.
func (u *Upload) Verify(want []byte) error {
	if len(want) != sha256.Size {
		return fault.New(fault.Invalid, "%s: digest of %d bytes: a SHA-256 has %d", u.what, len(want), sha256.Size)
	}
	u.skip(u.size)
	if got := u.sum.Sum(nil); !bytes.Equal(got, want) {
		return fault.New(fault.Aborted, "%s: SHA-256 of what arrived is %x, the sender's is %x: the data was changed on the way or while it was read; send it again", u.what, got, want)
	}
	if err := u.f.Sync(); err != nil {
		return DiskError(u.what, u.dir, err)
	}
	return nil
}

// Commit verifies, if not done before, and gives the file its name in the
// directory. It does not replace a file of that name.
func (u *Upload) Commit(want []byte) error {
	if err := u.Verify(want); err != nil {
		return err
	}
	to := filepath.Join(u.dir, u.name+u.box.suffix)
	err := unix.Renameat2(unix.AT_FDCWD, u.f.Name(), unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return fault.New(fault.Exists, "%s: exists already", u.what)
	}
	if err != nil {
		return DiskError(u.what, u.dir, err)
	}
	u.done = true
	u.box.came(u.name)
	_ = u.f.Close() // synced above: nothing is left to fail
	if err := state.SyncDir(u.dir); err != nil {
		return DiskError(u.what, u.dir, err)
	}
	return nil
}

// Abort removes what arrived. After Commit succeeded it does nothing.
func (u *Upload) Abort() {
	if u.done {
		return
	}
	u.done = true
	u.remove()
	u.box.came(u.name)
}

func (u *Upload) remove() {
	_ = os.Remove(u.f.Name())
	_ = u.f.Close()
}

// skip hashes the hole between what came and offset.
func (u *Upload) skip(offset uint64) {
	for u.next < offset {
		n := min(offset-u.next, uint64(len(zeros)))
		u.sum.Write(zeros[:n])
		u.next += n
	}
}

// writeSparse writes data but leaves out its pages of zeros, which the file
// holds already.
func writeSparse(w io.WriterAt, data []byte, off int64) error {
	const page = 4096
	for len(data) > 0 {
		// A run of pages that are alike: all zero, or none.
		n, zero := 0, false
		for n < len(data) {
			end := min(n+page-int((off+int64(n))%page), len(data))
			z := bytes.Equal(data[n:end], zeros[:end-n])
			if n > 0 && z != zero {
				break
			}
			n, zero = end, z
		}
		if !zero {
			if _, err := w.WriteAt(data[:n], off); err != nil {
				return err
			}
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}

// DiskError tells about a failed write in dir; for a full disk it says so and
// what to do.
func DiskError(what, dir string, err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		if errors.Is(err, unix.EFBIG) {
			return fault.New(fault.Invalid, "%s: larger than the host's file system allows", what)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	free := "unknown"
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		free = quantity.Bytes(st.Bavail * uint64(st.Bsize))
	}
	return fault.New(fault.Exhausted, "%s: the host's data disk is full (%s free): delete volumes or images that are not needed: %w", what, free, err)
}
