// Package directio turns on I/O past the host's page cache (O_DIRECT, open(2)) for
// disks: a guest has a page cache of its own, and a second copy of every block in
// the host's takes memory, and time to make.
//
// Direct I/O wants offsets, lengths and addresses aligned. Disks have sectors of
// 512 bytes, so only files that take those are switched; statx(2) tells
// (STATX_DIOALIGN).
package directio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Sector is what offsets and lengths of all I/O are multiples of, in bytes.
const Sector = 512

// Enable makes I/O on the open file that fd stands for direct, if that works with
// sectors, and says whether it is. It changes the file for all who share it.
func Enable(fd int) (bool, error) {
	align, err := memoryAlignment(fd)
	if err != nil || align == 0 {
		return false, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return false, fmt.Errorf("descriptor %d: flags: %w", fd, err)
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_DIRECT)
	if err == unix.EINVAL {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("descriptor %d: turn direct I/O on: %w", fd, err)
	}
	return true, nil
}

// Alignment returns what addresses have to be aligned to for I/O on fd, in bytes:
// 1 unless it is direct. Direct I/O that does not work with sectors is turned off.
func Alignment(fd int) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return 0, fmt.Errorf("descriptor %d: flags: %w", fd, err)
	}
	if flags&unix.O_DIRECT == 0 {
		return 1, nil
	}
	align, err := memoryAlignment(fd)
	if err != nil || align != 0 {
		return align, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&^unix.O_DIRECT); err != nil {
		return 0, fmt.Errorf("descriptor %d: turn direct I/O off: %w", fd, err)
	}
	return 1, nil
}

// memoryAlignment returns what direct I/O on fd wants of addresses, in bytes, and
// 0 if it does not work with sectors.
func memoryAlignment(fd int) (int, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil {
		return 0, fmt.Errorf("descriptor %d: statx: %w", fd, err)
	}
	offset, memory := st.Dio_offset_align, st.Dio_mem_align
	if st.Mask&unix.STATX_DIOALIGN == 0 || offset == 0 || offset > Sector || memory == 0 || memory&(memory-1) != 0 {
		return 0, nil
	}
	return int(memory), nil
}
