package linuxboot

import (
	"errors"
	"fmt"
	"io"
)

// Kind is a kind of kernel file.
type Kind int

// Kinds of kernel file.
const (
	BzImage Kind = iota + 1 // entered at the 64-bit entry point
	ELF                     // entered by PVH
)

// Info is what a kernel file says about itself.
type Info struct {
	Kind Kind
	// Version is the kernel's release, "6.12.1"; empty for an ELF file, which does
	// not say it in a fixed place.
	Version string
	// MinMemory is the end of the guest memory that the kernel needs before it
	// runs, in bytes, without its initrd.
	MinMemory uint64
	// MaxCmdline is the longest command line the kernel takes, in bytes.
	MaxCmdline int
}

// Format names the kind and version: "bzImage 6.12.1 (64-bit entry)".
func (i Info) Format() string {
	switch i.Kind {
	case BzImage:
		if i.Version == "" {
			return "bzImage (64-bit entry)"
		}
		return fmt.Sprintf("bzImage %s (64-bit entry)", i.Version)
	case ELF:
		return "ELF vmlinux (PVH)"
	}
	return "unknown"
}

// ErrNotKernel is wrapped by every error that says why a file cannot be booted.
var ErrNotKernel = errors.New("not a kernel")

func notKernel(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotKernel, fmt.Sprintf(format, args...))
}

// Inspect reads the headers of a kernel file of size bytes. If the file cannot be
// booted the error wraps ErrNotKernel and says why; any other error is one of
// reading.
func Inspect(r io.ReaderAt, size int64) (Info, error) {
	img, err := parse(r, size)
	if err != nil {
		return Info{}, err
	}
	return img.info(), nil
}

// image is a parsed kernel file.
type image interface {
	info() Info
	load(l *loader) (Entry, error)
}

func parse(r io.ReaderAt, size int64) (image, error) {
	if size == 0 {
		return nil, notKernel("the file is empty")
	}
	head := make([]byte, min(size, bzHeadBytes))
	if err := readAt(r, head, 0); err != nil {
		return nil, err
	}
	switch {
	case isBzImage(head):
		return parseBzImage(r, size, head)
	case isELF(head):
		return parseELF(r, size, head)
	}
	return nil, notKernel("neither a bzImage (no %q at %#x) nor an ELF file", bzMagic, bzMagicAt)
}

// readAt fills b from r.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}
