package irq

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errClosed is what a closed Vector answers.
var errClosed = errors.New("interrupt vector is closed")

// FD is the vector's nonblocking eventfd: a write of 8 bytes interrupts the
// guest, now or when the vector is unmasked. It is closed by Close.
func (v *Vector) FD() int { return v.fd }

// GSI is the vector's interrupt number within KVM.
func (v *Vector) GSI() uint32 { return v.gsi }

// Prepare notes the message of a masked vector, to save Program a replacement of
// the routing table. A message that Program would refuse is ignored.
func (v *Vector) Prepare(addr uint64, data uint32) {
	r := v.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if !v.closed && !v.live && addr&messageMask == messageBase {
		v.wanted = message{addr, data}
	}
}

// Program unmasks the vector with the message that the guest chose: signals, and
// one that came while it was masked, are delivered as this message. For an
// address that is no local APIC's the vector becomes masked and the error wraps
// ErrMessage.
func (v *Vector) Program(addr uint64, data uint32) error {
	r := v.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.closed {
		return errClosed
	}
	if addr&messageMask != messageBase {
		if err := v.disconnect(); err != nil {
			return err
		}
		return fmt.Errorf("interrupt %d: address %#x: %w", v.gsi, addr, ErrMessage)
	}
	v.wanted = message{addr, data}
	if v.routed != v.wanted {
		if err := r.publish(); err != nil {
			return err
		}
	}
	if v.live {
		return nil
	}
	// KVM delivers a signal that it finds when it is connected, but leaves it in the
	// eventfd, where it would be found again after the next Mask. So it is taken out
	// and signalled anew.
	pending := v.drain()
	if err := r.kernel.AssignIRQFD(v.fd, v.gsi); err != nil {
		if pending {
			v.signal()
		}
		return err
	}
	v.live = true
	if pending {
		v.signal()
	}
	return nil
}

// Mask disconnects the vector: when it returns, signals stay in the eventfd.
func (v *Vector) Mask() error {
	r := v.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.closed {
		return errClosed
	}
	return v.disconnect()
}

func (v *Vector) disconnect() error {
	if !v.live {
		return nil
	}
	if err := v.router.kernel.DeassignIRQFD(v.fd, v.gsi); err != nil {
		return err
	}
	v.live = false
	return nil
}

// Pending says whether a signal waits for the vector to be unmasked: the pending
// bit. It is false for an unmasked vector.
func (v *Vector) Pending() bool {
	r := v.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.closed || v.live {
		return false
	}
	p := []unix.PollFd{{Fd: int32(v.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
}

// Clear masks the vector and forgets a pending signal and its message: the state
// after a device's reset.
func (v *Vector) Clear() error {
	r := v.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.closed {
		return errClosed
	}
	if err := v.disconnect(); err != nil {
		return err
	}
	v.drain()
	v.wanted = message{}
	return nil
}

// Close disconnects the vector and frees its number and eventfd. Its route goes
// with the next replacement of the table.
func (v *Vector) Close() error {
	r := v.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.closed {
		return nil
	}
	err := v.disconnect()
	v.closed = true
	delete(r.vectors, v.gsi)
	r.free = append(r.free, v.gsi)
	if cerr := unix.Close(v.fd); err == nil && cerr != nil {
		err = fmt.Errorf("interrupt %d: close eventfd: %w", v.gsi, cerr)
	}
	return err
}

// drain empties the eventfd and says whether there was a signal.
func (v *Vector) drain() bool {
	var b [8]byte
	for {
		_, err := unix.Read(v.fd, b[:])
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// signal writes to the eventfd. EAGAIN, a counter at its end, is a signal that is
// already there.
func (v *Vector) signal() {
	one := [8]byte{1}
	for {
		if _, err := unix.Write(v.fd, one[:]); err != unix.EINTR {
			return
		}
	}
}
