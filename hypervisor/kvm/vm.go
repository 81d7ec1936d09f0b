package kvm

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// VM is a guest. Its methods may be used from many goroutines; the kernel
// serializes what must be.
type VM struct {
	fd        int
	mmapSize  int
	xsaveSize int
}

// xsaveMin is the size of struct kvm_xsave without its flexible array, bytes.
const xsaveMin = 4 * len(xsave{}.Region)

// Close closes the VM. The kernel frees it when its vCPUs are closed too and
// none runs.
func (v *VM) Close() error { return unix.Close(v.fd) }

// CheckExtension is System.CheckExtension for this VM, which may have less.
func (v *VM) CheckExtension(c Cap) (int, error) {
	return v.call(ioctlCheckExtension, "KVM_CHECK_EXTENSION", uintptr(c))
}

// EnableCap turns an extension on.
func (v *VM) EnableCap(c Cap, args ...uint64) error {
	e := enableCap{Cap: uint32(c)}
	copy(e.Args[:], args)
	if _, err := ioctlPtr(v.fd, ioctlEnableCap, "KVM_ENABLE_CAP", &e); err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	return nil
}

// SetMemory maps size bytes of this process at hva to guest-physical address
// gpa, both multiples of the page size; the memory must stay mapped as long as
// the slot. Flags are MemReadOnly (a guest's write is an ExitMMIO) and
// MemLogDirtyPages. Called again for a slot it changes the flags or, with the
// same size, moves it; size 0 removes the slot.
func (v *VM) SetMemory(slot, flags uint32, gpa, size uint64, hva uintptr) error {
	r := userspaceMemoryRegion{
		Slot: slot, Flags: flags, GuestPhysAddr: gpa, MemorySize: size, UserspaceAddr: uint64(hva),
	}
	if _, err := ioctlPtr(v.fd, ioctlSetUserMemoryRegion, "KVM_SET_USER_MEMORY_REGION", &r); err != nil {
		return fmt.Errorf("memory slot %d at %#x+%#x: %w", slot, gpa, size, err)
	}
	return nil
}

// DirtyLog fills bitmap with one bit for each page of a MemLogDirtyPages slot
// that was written since the last call, and starts anew (unless
// EnableManualDirtyLog was called: then ClearDirtyLog does). The bitmap has
// size/4096/64 words, rounded up.
func (v *VM) DirtyLog(slot uint32, bitmap []uint64) error {
	d := dirtyLog{Slot: slot, DirtyBitmap: address(bitmap)}
	_, err := ioctlPtr(v.fd, ioctlGetDirtyLog, "KVM_GET_DIRTY_LOG", &d)
	runtime.KeepAlive(bitmap)
	if err != nil {
		return fmt.Errorf("memory slot %d: %w", slot, err)
	}
	return nil
}

// EnableManualDirtyLog makes DirtyLog only report; ClearDirtyLog then starts
// pages anew, which lets large memory be done in small steps.
func (v *VM) EnableManualDirtyLog() error {
	return v.EnableCap(CapManualDirtyLogProtect2, manualProtectEnable)
}

// ClearDirtyLog starts logging anew for those pages of [first, first+pages) that
// have their bit set in bitmap, whose first bit is page first. first is a
// multiple of 64, and so is pages unless the slot ends there.
func (v *VM) ClearDirtyLog(slot uint32, first uint64, pages uint32, bitmap []uint64) error {
	d := clearDirtyLog{Slot: slot, NumPages: pages, FirstPage: first, DirtyBitmap: address(bitmap)}
	_, err := ioctlPtr(v.fd, ioctlClearDirtyLog, "KVM_CLEAR_DIRTY_LOG", &d)
	runtime.KeepAlive(bitmap)
	if err != nil {
		return fmt.Errorf("memory slot %d: %w", slot, err)
	}
	return nil
}

// SetTSSAddr gives KVM three pages of guest-physical address space below 4 GiB,
// which it needs on Intel processors.
func (v *VM) SetTSSAddr(gpa uint64) error {
	_, err := v.call(ioctlSetTSSAddr, "KVM_SET_TSS_ADDR", uintptr(gpa))
	return err
}

// SetIdentityMapAddr gives KVM one page of guest-physical address space below
// 4 GiB, which it needs on Intel processors. It comes before the first vCPU.
func (v *VM) SetIdentityMapAddr(gpa uint64) error {
	_, err := ioctlPtr(v.fd, ioctlSetIdentityMapAddr, "KVM_SET_IDENTITY_MAP_ADDR", &gpa)
	return err
}

// DisableExits leaves instructions to the guest that would exit: a mask of
// DisableExits… bits, within what CapX86DisableExits reports. It comes before
// the first vCPU.
func (v *VM) DisableExits(mask uint64) error {
	return v.EnableCap(CapX86DisableExits, mask)
}

// SetHaltPoll sets for how long KVM may spin before a halted vCPU sleeps, in
// nanoseconds.
func (v *VM) SetHaltPoll(ns uint32) error { return v.EnableCap(CapHaltPoll, uint64(ns)) }

// Clock returns the guest's kvmclock.
func (v *VM) Clock() (ClockData, error) {
	var c ClockData
	_, err := ioctlPtr(v.fd, ioctlGetClock, "KVM_GET_CLOCK", &c)
	return c, err
}

// SetClock sets the guest's kvmclock to c.Clock. With ClockRealtime in c.Flags
// it goes on by the time that has passed since c.Realtime.
func (v *VM) SetClock(c ClockData) error {
	_, err := ioctlPtr(v.fd, ioctlSetClock, "KVM_SET_CLOCK", &c)
	return err
}

// CreateVCPU makes a processor; id becomes its local APIC's identifier.
func (v *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := v.call(ioctlCreateVCPU, "KVM_CREATE_VCPU", uintptr(id))
	if err != nil {
		return nil, fmt.Errorf("vcpu %d: %w", id, err)
	}
	run, err := mapRun(fd, v.mmapSize)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("vcpu %d: map run page: %w", id, err)
	}
	return &VCPU{fd: fd, id: id, run: run, xsaveSize: v.xsaveSize}, nil
}

// Stats opens the kernel's counters of this VM.
func (v *VM) Stats() (*Stats, error) { return openStats(v.fd) }

func (v *VM) call(req uintptr, name string, arg uintptr) (int, error) {
	return ioctlNumber(v.fd, req, name, arg)
}
