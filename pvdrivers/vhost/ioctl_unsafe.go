package vhost

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

// call is ioctl(2). arg is nil or points to what req reads or writes; the
// conversion to uintptr stands in the call itself, which keeps the object where
// it is (unsafe.Pointer, rule 4). A signal that came in between is no answer:
// vhost's requests may be repeated.
func (d *Device) call(name string, req uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), req, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("%s: %w", name, errno)
		}
	}
}

// The functions below tie each request to the type that the kernel expects.

func (d *Device) callU64(name string, req uintptr, v *uint64) error {
	return d.call(name, req, unsafe.Pointer(v))
}

func (d *Device) callI32(name string, req uintptr, v *int32) error {
	return d.call(name, req, unsafe.Pointer(v))
}

func (d *Device) setState(name string, req uintptr, s *vringState) error {
	if err := d.call(name, req, unsafe.Pointer(s)); err != nil {
		return fmt.Errorf("queue %d: %w", s.Index, err)
	}
	return nil
}

func (d *Device) setVringFile(name string, req uintptr, f *vringFile) error {
	if err := d.call(name, req, unsafe.Pointer(f)); err != nil {
		return fmt.Errorf("queue %d: %w", f.Index, err)
	}
	return nil
}

func (d *Device) setAddr(a *vringAddr) error {
	if err := d.call("VHOST_SET_VRING_ADDR", ioctlSetVringAddr, unsafe.Pointer(a)); err != nil {
		return fmt.Errorf("queue %d: %w", a.Index, err)
	}
	return nil
}

func (d *Device) setMemTable(t *memoryTable) error {
	return d.call("VHOST_SET_MEM_TABLE", ioctlSetMemTable, unsafe.Pointer(t))
}

// ringAddr turns the guest's ring addresses into this process's, after checking
// that each ring lies inside guest memory (virtio 1.2, 2.7: sizes of the three
// parts, with the two bytes of the event index).
func ringAddr(m *guestmem.Memory, q virtio.Queue) (vringAddr, error) {
	size := uint64(q.Size)
	var a vringAddr
	for _, part := range []struct {
		name   string
		guest  uint64
		length uint64
		host   *uint64
	}{
		{"descriptor table", q.Desc, 16 * size, &a.DescUserAddr},
		{"available ring", q.Driver, 6 + 2*size, &a.AvailUserAddr},
		{"used ring", q.Device, 6 + 8*size, &a.UsedUserAddr},
	} {
		b, err := m.Slice(part.guest, part.length)
		if err != nil {
			return vringAddr{}, fmt.Errorf("%s: %w", part.name, err)
		}
		// A number for the kernel, never turned back into a pointer. The mapping is
		// not Go memory and does not move.
		*part.host = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	}
	return a, nil
}
