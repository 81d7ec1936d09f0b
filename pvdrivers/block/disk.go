package block

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// disk is the host's file or block device.
type disk struct {
	fd       int
	device   bool   // a block device rather than a regular file
	sectors  uint64 // of 512 bytes
	logical  uint32 // block size in bytes
	physical uint32 // block size in bytes, at least logical
	counters *counters
}

// filePhysical is the block size told for a file: that of common file systems,
// so that guests align their partitions to it.
const filePhysical = 4096

func openDisk(fd int, readOnly bool, c *counters) (*disk, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("disk descriptor %d: %w", fd, err)
	}
	if mode := flags & unix.O_ACCMODE; mode == unix.O_WRONLY || mode == unix.O_RDONLY && !readOnly {
		return nil, fmt.Errorf("disk descriptor %d: open it for reading and writing, or make the disk read-only", fd)
	}
	if flags&unix.O_APPEND != 0 {
		// pwrite would append whatever offset it is given.
		return nil, fmt.Errorf("disk descriptor %d is opened with O_APPEND", fd)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("disk descriptor %d: %w", fd, err)
	}
	d := &disk{fd: fd, counters: c}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.logical, d.physical = sectorBytes, filePhysical
		d.sectors = uint64(st.Size) / sectorBytes
	case unix.S_IFBLK:
		d.device = true
		if err := d.probeDevice(); err != nil {
			return nil, fmt.Errorf("disk descriptor %d: %w", fd, err)
		}
	default:
		return nil, fmt.Errorf("disk descriptor %d is neither a regular file nor a block device", fd)
	}
	return d, nil
}

// inRange says whether bytes from sector on are whole sectors of the disk.
func (d *disk) inRange(sector, bytes uint64) bool {
	return bytes%sectorBytes == 0 && sector <= d.sectors && bytes/sectorBytes <= d.sectors-sector
}

// read fills iovs from sector on, in as many calls as it takes. It consumes
// iovs.
func (d *disk) read(iovs []unix.Iovec, sector uint64) error {
	return d.transfer(preadv2, iovs, sector, 0)
}

// write writes iovs from sector on; through makes it durable before it returns.
func (d *disk) write(iovs []unix.Iovec, sector uint64, through bool) error {
	flags := 0
	if through {
		flags = unix.RWF_DSYNC
	}
	return d.transfer(pwritev2, iovs, sector, flags)
}

type vectorCall func(fd int, iovs []unix.Iovec, off int64, flags int) (int, error)

func (d *disk) transfer(call vectorCall, iovs []unix.Iovec, sector uint64, flags int) error {
	off := int64(sector * sectorBytes)
	for len(iovs) > 0 {
		d.counters.syscalls.Add(1)
		n, err := call(d.fd, iovs, off, flags)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			// The file got shorter than it was, or takes nothing.
			return io.ErrUnexpectedEOF
		default:
			off += int64(n)
			iovs = advance(iovs, n)
		}
	}
	return nil
}

// flush makes every completed write durable.
func (d *disk) flush() error {
	return d.retry(func() error { return unix.Fdatasync(d.fd) })
}

// discard gives the range's storage back. What it reads as afterwards is
// undefined; here, zeros.
func (d *disk) discard(sector uint64, sectors uint32) error {
	off, n := int64(sector*sectorBytes), int64(sectors)*sectorBytes
	if d.device {
		return d.retry(func() error { return d.rangeIoctl(unix.BLKDISCARD, off, n) })
	}
	return d.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// zero makes the range read as zeros. It stays allocated unless unmap is set.
func (d *disk) zero(sector uint64, sectors uint32, unmap bool) error {
	off, n := int64(sector*sectorBytes), int64(sectors)*sectorBytes
	if d.device {
		// The kernel zeroes by command where the device can and by writing where not.
		return d.retry(func() error { return d.rangeIoctl(unix.BLKZEROOUT, off, n) })
	}
	if unmap {
		return d.discard(sector, sectors)
	}
	err := d.allocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	// tmpfs has no ZERO_RANGE: a hole filled again with zeroed blocks is the same.
	if err := d.discard(sector, sectors); err != nil {
		return err
	}
	return d.allocate(unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (d *disk) allocate(mode uint32, off, n int64) error {
	return d.retry(func() error { return unix.Fallocate(d.fd, mode, off, n) })
}

// retry repeats a call that a signal interrupted.
func (d *disk) retry(call func() error) error {
	for {
		d.counters.syscalls.Add(1)
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (d *disk) close() error {
	if d.fd < 0 {
		return os.ErrClosed
	}
	fd := d.fd
	d.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close disk: %w", err)
	}
	return nil
}
