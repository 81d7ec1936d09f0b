package net

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Offloads that a tap's reader takes (TUN_F_* in linux/if_tun.h).
const (
	tunCsum = 0x01
	tunTSO4 = 0x02
	tunTSO6 = 0x04
)

// setUpTap checks that fd is a tap as this package needs it and sets the size
// and byte order of its header.
func setUpTap(fd int) error {
	flags, err := tapFlags(fd)
	if err != nil {
		return fmt.Errorf("descriptor %d is no tap: %w", fd, err)
	}
	const want = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if flags&(want|unix.IFF_TUN) != want {
		return fmt.Errorf("tap has flags %#x: create it with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR", flags)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, headerBytes); err != nil {
		return fmt.Errorf("tap: TUNSETVNETHDRSZ: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1); err != nil {
		return fmt.Errorf("tap: TUNSETVNETLE: %w", err)
	}
	return nil
}

// setOffloads tells the tap what a driver with these features takes unfinished.
func setOffloads(fd int, features uint64) error {
	var flags int
	if features&featureGuestCsum != 0 {
		flags = tunCsum
		// Large frames have open checksums, so without those there are none.
		if features&featureGuestTSO4 != 0 {
			flags |= tunTSO4
		}
		if features&featureGuestTSO6 != 0 {
			flags |= tunTSO6
		}
	}
	// This request takes its argument by value.
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err != nil {
		return fmt.Errorf("tap: TUNSETOFFLOAD %#x: %w", flags, err)
	}
	return nil
}

// openTap returns a file for the session's use of the tap. It works on a
// duplicate, so that closing it ends the session's reads and writes and nothing
// else.
func openTap(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate tap: %w", err)
	}
	f := os.NewFile(uintptr(dup), "tap")
	if err := f.SetDeadline(time.Time{}); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("tap cannot be polled: %w", err)
	}
	return f, nil
}

// drops says whether err is the fate of one frame rather than of the tap.
func drops(err error) bool {
	return errors.Is(err, unix.EINVAL) || // the kernel refused the header
		errors.Is(err, unix.EIO) || // the interface is down
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) ||
		errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EMSGSIZE)
}
