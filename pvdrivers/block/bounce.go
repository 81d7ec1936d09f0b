package block

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/directio"
)

// Direct I/O needs memory that is aligned as the host's device wants it. A guest's
// almost always is, but nothing in virtio promises that. The rest goes through
// buffers, which are made before the process confines itself.
const (
	bounceBuffers = 2
	bounceBytes   = 256 << 10 // of each; a longer request takes several turns
)

// probeAlignment asks what the disk's descriptor wants of addresses.
func (d *disk) probeAlignment() error {
	align, err := directio.Alignment(d.fd)
	if err != nil {
		return err
	}
	return d.setAlignment(align)
}

// setAlignment sets what addresses have to be aligned to, in bytes, and makes the
// buffers if that is more than 1.
func (d *disk) setAlignment(align int) error {
	d.align = uintptr(align)
	if align == 1 {
		return nil
	}
	// Pages are aligned to more than any device wants.
	all, err := unix.Mmap(-1, 0, bounceBuffers*bounceBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("buffers for direct I/O: %w", err)
	}
	d.bounceMemory = all
	d.bounce = make(chan []byte, bounceBuffers)
	for b := all; len(b) > 0; b = b[bounceBytes:] {
		d.bounce <- b[:bounceBytes:bounceBytes]
	}
	return nil
}

// transferBounced is transfer by way of a buffer, for which it waits.
func (d *disk) transferBounced(call vectorCall, write bool, iovs []unix.Iovec, off int64, flags int) error {
	buf := <-d.bounce
	defer func() { d.bounce <- buf }()
	for len(iovs) > 0 {
		part := buf[:min(len(buf), bytesOf(iovs))]
		if write {
			gather(part, iovs)
		}
		d.counters.syscalls.Add(1)
		n, err := call(d.fd, oneIovec(part), off, flags)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			if !write {
				scatter(iovs, part[:n])
			}
			off += int64(n)
			iovs = advance(iovs, n)
		}
	}
	return nil
}
