package vhost

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

// NoFile stands for no file descriptor: a queue without a backend.
const NoFile = -1

// ErrNoFeature is returned when the kernel's vhost lacks a feature that was
// asked for.
var ErrNoFeature = errors.New("the kernel's vhost does not have this feature")

// Device is one vhost instance. Its methods are not for concurrent use.
type Device struct {
	fd int
}

// Open takes over fd, an open /dev/vhost-net or /dev/vhost-vsock, and closes it
// in Close.
func Open(fd int) *Device { return &Device{fd: fd} }

// Close ends the instance: the kernel stops all its queues and frees it.
func (d *Device) Close() error {
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	if err != nil {
		return fmt.Errorf("close vhost: %w", err)
	}
	return nil
}

// SetOwner binds the instance to this process and its memory. It comes before
// everything else, and only once: EBUSY when there is an owner already.
//
// The kernel makes a thread for the instance, and a signal that is pending just
// then (Go's runtime sends them to preempt) makes it give up with ENOMEM, which
// hides that it should be tried again. So it is, a few times.
func (d *Device) SetOwner() error {
	for try := 1; ; try++ {
		err := d.call("VHOST_SET_OWNER", ioctlSetOwner, nil)
		if try == ownerTries || !errors.Is(err, unix.ENOMEM) {
			return err
		}
	}
}

// ownerTries bounds the tries when memory is short in earnest.
const ownerTries = 20

// Features returns the feature bits that the kernel has for this kind of
// device, virtio's own and vhost's.
func (d *Device) Features() (uint64, error) {
	var f uint64
	err := d.callU64("VHOST_GET_FEATURES", ioctlGetFeatures, &f)
	return f, err
}

// SetFeatures tells the kernel what the guest's driver accepted, leaving out
// what is not vhost's business. Bits that the kernel lacks are an
// ErrNoFeature.
func (d *Device) SetFeatures(features uint64) error {
	have, err := d.Features()
	if err != nil {
		return err
	}
	if lacking := features &^ have; lacking != 0 {
		return fmt.Errorf("vhost features %#x: %w", lacking, ErrNoFeature)
	}
	return d.callU64("VHOST_SET_FEATURES", ioctlSetFeatures, &features)
}

// BackendFeatures returns the kernel's VHOST_BACKEND_F bits. A kernel without
// such bits has none: 0.
func (d *Device) BackendFeatures() (uint64, error) {
	var f uint64
	err := d.callU64("VHOST_GET_BACKEND_FEATURES", ioctlGetBackendFeatures, &f)
	if errors.Is(err, unix.ENOTTY) {
		return 0, nil
	}
	return f, err
}

// SetBackendFeatures selects VHOST_BACKEND_F bits.
func (d *Device) SetBackendFeatures(f uint64) error {
	return d.callU64("VHOST_SET_BACKEND_FEATURES", ioctlSetBackendFeatures, &f)
}

// SetMemory gives the kernel the guest's memory. All addresses that the driver
// writes into its rings are looked up there.
func (d *Device) SetMemory(m *guestmem.Memory) error {
	regions := m.Regions()
	if len(regions) > maxRegions {
		return fmt.Errorf("vhost: %d regions of guest memory, the kernel takes %d", len(regions), maxRegions)
	}
	t := memoryTable{Nregions: uint32(len(regions))}
	for i, r := range regions {
		t.Regions[i] = memoryRegion{
			GuestPhysAddr: r.GuestAddr,
			MemorySize:    r.Size,
			UserspaceAddr: uint64(m.HostAddr(i)),
		}
	}
	return d.setMemTable(&t)
}

// SetQueue sets up queue index as the driver placed it in m. Ring addresses
// outside guest memory are a guestmem.ErrOutOfRange. q.NextAvail is where the
// kernel goes on; it finds the used index in the ring itself.
func (d *Device) SetQueue(index int, m *guestmem.Memory, q virtio.Queue) error {
	i := uint32(index)
	addr, err := ringAddr(m, q)
	if err != nil {
		return fmt.Errorf("vhost queue %d: %w", index, err)
	}
	addr.Index = i
	if err := d.setState("VHOST_SET_VRING_NUM", ioctlSetVringNum, &vringState{Index: i, Num: uint32(q.Size)}); err != nil {
		return err
	}
	if err := d.setState("VHOST_SET_VRING_BASE", ioctlSetVringBase, &vringState{Index: i, Num: uint32(q.NextAvail)}); err != nil {
		return err
	}
	if err := d.setAddr(&addr); err != nil {
		return err
	}
	if err := d.setFile("VHOST_SET_VRING_CALL", ioctlSetVringCall, index, q.CallFD); err != nil {
		return err
	}
	return d.setFile("VHOST_SET_VRING_KICK", ioctlSetVringKick, index, q.KickFD)
}

// SetQueueError makes the kernel signal the eventfd fd when it finds the ring of
// queue index broken and stops serving it. NoFile takes it back.
func (d *Device) SetQueueError(index, fd int) error {
	return d.setFile("VHOST_SET_VRING_ERR", ioctlSetVringErr, index, fd)
}

// QueueBase returns the next available index of a stopped queue: where SetQueue
// goes on.
func (d *Device) QueueBase(index int) (uint16, error) {
	s := vringState{Index: uint32(index)}
	if err := d.setState("VHOST_GET_VRING_BASE", ioctlGetVringBase, &s); err != nil {
		return 0, err
	}
	return uint16(s.Num), nil
}

// SetNetBackend connects queue index of a vhost-net device with the tap fd and
// starts it; the queue's rings are checked then. NoFile stops the queue:
// afterwards the kernel does not touch guest memory for it.
func (d *Device) SetNetBackend(index, fd int) error {
	return d.setFile("VHOST_NET_SET_BACKEND", ioctlNetSetBackend, index, fd)
}

// SetGuestCID gives a vhost-vsock device the guest's address, 3 and up. An
// address that another guest of this host has is EADDRINUSE.
func (d *Device) SetGuestCID(cid uint32) error {
	c := uint64(cid)
	return d.callU64("VHOST_VSOCK_SET_GUEST_CID", ioctlVsockSetGuestCID, &c)
}

// SetRunning starts or stops all queues of a vhost-vsock device.
func (d *Device) SetRunning(run bool) error {
	var on int32
	if run {
		on = 1
	}
	return d.callI32("VHOST_VSOCK_SET_RUNNING", ioctlVsockSetRunning, &on)
}

func (d *Device) setFile(name string, req uintptr, index, fd int) error {
	return d.setVringFile(name, req, &vringFile{Index: uint32(index), Fd: int32(fd)})
}
