package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"gozen/dom0/cli/failure"
	"gozen/dom0/cli/sparse"
	"gozen/dom0/quantity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// headSize is how much of a source is looked at to see what it is, in bytes.
const headSize = 4096

// source is a file or a pipe to upload.
type source struct {
	*sparse.Reader
	label string // for messages
	file  bool   // a regular file: holes are known, size is too
	size  int64  // of the content
	total int64  // with the hole behind it
	head  []byte // the first bytes
	close func() error
}

// Close closes the file; standard input stays open.
func (s *source) Close() error { return s.close() }

// openSource opens what to upload. want is the size asked for in bytes, 0 if
// none was; without, the size of a file rounded up to the unit.
func (a *app) openSource(cmd *cobra.Command, path string, want uint64, unit int64) (*source, error) {
	s := &source{label: path, close: func() error { return nil }}
	f := a.In
	if path == "-" {
		s.label = "standard input"
	} else {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		s.close = f.Close
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		s.file, s.size = true, info.Size()
	case mode.IsDir():
		return nil, fmt.Errorf("%s is a directory; want a file", path)
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		// A disk of this machine: its size is where its end is.
		if s.size, err = f.Seek(0, io.SeekEnd); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if _, err = f.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		s.file = true
	case want == 0:
		return nil, usageError(cmd, "%s is a pipe: say its size first with --size", s.label)
	case isTerminal(f):
		return nil, usageError(cmd, "%s is a terminal", s.label)
	default:
		s.size = int64(want)
	}
	s.total = (s.size + unit - 1) / unit * unit
	if want != 0 {
		if int64(want) < s.size {
			return nil, usageError(cmd, "--size %s is less than the %s of %s; a volume cannot cut off data",
				quantity.Bytes(want), quantity.Bytes(uint64(s.size)), s.label)
		}
		s.total = int64(want)
	}
	if s.total == 0 {
		return nil, fmt.Errorf("%s is empty", s.label)
	}
	if s.file {
		s.head = make([]byte, min(headSize, s.size))
		if _, err := f.ReadAt(s.head, 0); err != nil {
			return nil, err
		}
		s.Reader = sparse.NewFile(f, s.size, s.total)
		return s, nil
	}
	in := bufio.NewReaderSize(newPatient(cmd.Context(), f), headSize)
	if s.head, err = in.Peek(headSize); err != nil && err != io.EOF {
		if ctxErr := cmd.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, fmt.Errorf("%s: %w", s.label, err)
	}
	s.head = bytes.Clone(s.head)
	s.Reader = sparse.NewStream(in, s.total)
	return s, nil
}

// patient reads a pipe that may have nothing to say for long, and can be
// interrupted while it waits.
type patient struct {
	ctx    context.Context
	pieces chan piece
	rest   []byte
	err    error
}

type piece struct {
	data []byte
	err  error
}

func newPatient(ctx context.Context, r io.Reader) *patient {
	p := &patient{ctx: ctx, pieces: make(chan piece)}
	go func() {
		// A read that never returns ends with the process.
		for {
			buf := make([]byte, 64<<10)
			n, err := r.Read(buf)
			select {
			case p.pieces <- piece{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *patient) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		select {
		case next := <-p.pieces:
			p.rest, p.err = next.data, next.err
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// packed are forms of disk images that a volume cannot be made of as they are.
var packed = []struct {
	magic, name, way string
}{
	{"QFI\xfb", "a qcow2 image", "qemu-img convert -O raw %s disk.raw"},
	{"KDMV", "a VMDK image", "qemu-img convert -O raw %s disk.raw"},
	{"vhdxfile", "a VHDX image", "qemu-img convert -O raw %s disk.raw"},
	{"\x1f\x8b", "compressed with gzip", "gzip -dc %s > disk.raw"},
	{"\xfd7zXZ\x00", "compressed with xz", "xz -dc %s > disk.raw"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc %s > disk.raw"},
	{"BZh", "compressed with bzip2", "bzip2 -dc %s > disk.raw"},
}

// checkRaw refuses what is surely no raw disk image.
func (s *source) checkRaw(asIs bool) error {
	for _, p := range packed {
		if asIs || !bytes.HasPrefix(s.head, []byte(p.magic)) {
			continue
		}
		return failure.New(failure.General, "%s is %s; a volume takes a raw image", s.label, p.name).
			WithHint("Unpack it first: "+p.way+"\nTo take it as it is, add --as-is.", s.label)
	}
	return nil
}

// imageKind finds out what an image is: what the flag says, else what its first
// bytes say.
func (s *source) imageKind(flag string) (gozenv1.ImageKind, error) {
	switch flag {
	case "kernel":
		return gozenv1.ImageKind_IMAGE_KIND_KERNEL, nil
	case "initrd":
		return gozenv1.ImageKind_IMAGE_KIND_INITRD, nil
	case "":
	default:
		return 0, fmt.Errorf("--kind %q: want kernel or initrd", flag)
	}
	if k := sniff(s.head); k != gozenv1.ImageKind_IMAGE_KIND_UNSPECIFIED {
		return k, nil
	}
	return 0, fmt.Errorf("%s looks like neither a kernel nor an initrd; say which with --kind", s.label)
}

// sniff tells kernels from initrds by their first bytes.
func sniff(head []byte) gozenv1.ImageKind {
	// The Linux boot protocol's magic number, at 0x202 (Documentation/arch/x86/boot.rst).
	if len(head) >= 0x206 && string(head[0x202:0x206]) == "HdrS" {
		return gozenv1.ImageKind_IMAGE_KIND_KERNEL
	}
	if bytes.HasPrefix(head, []byte("\x7fELF")) {
		return gozenv1.ImageKind_IMAGE_KIND_KERNEL
	}
	// What the kernel unpacks: cpio archives, and its compressions
	// (Documentation/driver-api/early-userspace/buffer-format.rst, lib/decompress.c).
	for _, magic := range []string{"070701", "070702", "\x1f\x8b", "\x1f\x9e", "BZh", "\x5d\x00\x00", "\xfd7zXZ", "\x89LZO", "\x02\x21\x4c\x18", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return gozenv1.ImageKind_IMAGE_KIND_INITRD
		}
	}
	return gozenv1.ImageKind_IMAGE_KIND_UNSPECIFIED
}

// upload is the sending of one source.
type upload struct {
	*app
	kind, name string
	src        *source
	imageKind  gozenv1.ImageKind
	sent       int64 // bytes of data, without holes
	began      time.Time
}

// summary says what was sent.
func (u *upload) summary() string {
	return fmt.Sprintf("%s sent in %s", quantity.Bytes(uint64(u.sent)), time.Since(u.began).Round(100*time.Millisecond))
}

// part makes one message of an upload from the one argument that is not nil.
type part[Req any] func(*gozenv1.UploadHeader, *gozenv1.UploadChunk, *gozenv1.UploadTrailer) *Req

// send streams the source. However it fails, the host keeps nothing, and the
// error says so.
func send[Req, Resp any](ctx context.Context, u *upload, open func(context.Context) *connect.ClientStreamForClient[Req, Resp], pack part[Req]) (*Resp, error) {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u.began = now()
	bar := u.progress()
	defer bar.end()
	stream := open(ctx)
	err := u.stream(bar, func(h *gozenv1.UploadHeader, c *gozenv1.UploadChunk, t *gozenv1.UploadTrailer) error {
		return stream.Send(pack(h, c, t))
	})
	if err != nil && !errors.Is(err, io.EOF) {
		// The stream must not end in order: that could pass for a whole upload.
		cancel()
		_, _ = stream.CloseAndReceive()
		return nil, u.failed(outer, err)
	}
	// io.EOF from Send means that the host has answered already: with why not.
	resp, err := stream.CloseAndReceive()
	if err != nil {
		return nil, u.failed(outer, err)
	}
	bar.end()
	return resp.Msg, nil
}

// stream sends header, data and trailer.
func (u *upload) stream(bar *progress, send func(*gozenv1.UploadHeader, *gozenv1.UploadChunk, *gozenv1.UploadTrailer) error) error {
	header := &gozenv1.UploadHeader{Name: u.name, SizeBytes: uint64(u.src.total), Kind: u.imageKind}
	if err := send(header, nil, nil); err != nil {
		return err
	}
	for {
		data, offset, err := u.src.Next()
		bar.set(u.src.Done())
		if err == io.EOF {
			return send(nil, nil, &gozenv1.UploadTrailer{Sha256: u.src.Sum()})
		}
		if err != nil {
			return &sourceError{err}
		}
		// An empty chunk, inside a large hole, tells the host that this side lives.
		if err := send(nil, &gozenv1.UploadChunk{Offset: uint64(offset), Data: data}, nil); err != nil {
			return err
		}
		u.sent += int64(len(data))
	}
}

// sourceError is a failure to read what is to be sent.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// failed explains why an upload did not happen.
func (u *upload) failed(ctx context.Context, err error) error {
	f := failure.Of(err, u.host)
	if ctx.Err() != nil {
		f = failure.New(failure.Interrupted, "interrupted")
	}
	lost := f.Lost
	var local *sourceError
	switch {
	case ctx.Err() == nil && errors.As(err, &local):
		return failure.New(failure.General, "%s %q was not uploaded: %v", u.kind, u.name, err).
			WithHint("The host kept nothing of it.")
	case f.Code == failure.Interrupted, f.Code == failure.Unreachable && u.sent > 0, f.Code == failure.Timeout:
		f = failure.New(f.Code, "%s %q: upload cut after %s of %s: %s", u.kind, u.name,
			quantity.Bytes(uint64(u.src.Done())), quantity.Bytes(uint64(u.src.total)), f.Message)
		f.Lost = lost
		return f.WithHint("The host keeps nothing of a cut upload. Start it again with the same command.")
	}
	return err
}

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct{ bar *progressbar.ProgressBar }

func (u *upload) progress() *progress {
	if !isTerminal(u.Err) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(u.src.total,
		progressbar.OptionSetWriter(u.Err),
		progressbar.OptionSetDescription(u.name),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
	)}
}

func (p *progress) set(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(n) // a bar that cannot be drawn stops nothing
	}
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
