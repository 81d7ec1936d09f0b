package kvm

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is returned by Open when the kernel's KVM cannot run Gozen's
// guests.
var ErrUnsupported = errors.New("KVM of this kernel is not enough")

// System is /dev/kvm.
type System struct {
	fd       int
	mmapSize int // of a vCPU's run page and what follows it, bytes
}

// Open takes over fd, an open /dev/kvm, and checks that KVM has what Gozen
// needs: an error that wraps ErrUnsupported names everything that is missing.
// With an error fd stays the caller's.
func Open(fd int) (*System, error) {
	s := &System{fd: fd}
	v, err := s.call(ioctlGetAPIVersion, "KVM_GET_API_VERSION", 0)
	if err != nil {
		return nil, fmt.Errorf("%w; descriptor %d should be /dev/kvm", err, fd)
	}
	if v != apiVersion {
		return nil, fmt.Errorf("KVM API version %d, not %d: %w", v, apiVersion, ErrUnsupported)
	}
	var missing []string
	for _, r := range required {
		n, err := s.CheckExtension(r.cap)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			missing = append(missing, r.name)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("missing %s (Linux 6.12 has all): %w", strings.Join(missing, ", "), ErrUnsupported)
	}
	s.mmapSize, err = s.call(ioctlGetVCPUMmapSize, "KVM_GET_VCPU_MMAP_SIZE", 0)
	if err != nil {
		return nil, err
	}
	if s.mmapSize < runPageSize {
		return nil, fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %d bytes, less than struct kvm_run's %d: %w", s.mmapSize, runPageSize, ErrUnsupported)
	}
	return s, nil
}

// Close closes /dev/kvm. VMs made from it live on.
func (s *System) Close() error { return unix.Close(s.fd) }

// CheckExtension returns 0 when KVM lacks the extension, and otherwise 1 or a
// number that says more.
func (s *System) CheckExtension(c Cap) (int, error) {
	return s.call(ioctlCheckExtension, "KVM_CHECK_EXTENSION", uintptr(c))
}

// SupportedCPUID returns every CPUID leaf as this host and KVM can give it to a
// guest. APIC identifiers and topology in it are those of whatever processor
// answered; hypervisor/vcpu sets them.
func (s *System) SupportedCPUID() ([]CPUIDEntry, error) {
	for n := 128; ; n *= 2 {
		h, e := flexible[cpuidHeader, CPUIDEntry](n)
		h.Nent = uint32(n)
		_, err := ioctlPtr(s.fd, ioctlGetSupportedCPUID, "KVM_GET_SUPPORTED_CPUID", h)
		if errors.Is(err, unix.E2BIG) && n < 4096 {
			continue // more leaves than room
		}
		if err != nil {
			return nil, err
		}
		return e[:h.Nent], nil
	}
}

// MSRIndexList returns the model-specific registers that hold guest state: those
// to save and restore.
func (s *System) MSRIndexList() ([]uint32, error) {
	for n := 512; ; n *= 2 {
		h, e := flexible[msrListHeader, uint32](n)
		h.Nmsrs = uint32(n)
		_, err := ioctlPtr(s.fd, ioctlGetMSRIndexList, "KVM_GET_MSR_INDEX_LIST", h)
		if errors.Is(err, unix.E2BIG) && n < 16384 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return e[:h.Nmsrs], nil
	}
}

// CreateVM makes a guest without memory or processors. Its memory will be this
// process's.
func (s *System) CreateVM() (*VM, error) {
	fd, err := s.call(ioctlCreateVM, "KVM_CREATE_VM", 0)
	if err != nil {
		return nil, err
	}
	v := &VM{fd: fd, mmapSize: s.mmapSize}
	v.xsaveSize, err = v.CheckExtension(CapXSave2)
	if err == nil && v.xsaveSize < xsaveMin {
		err = fmt.Errorf("KVM_CAP_XSAVE2: %d bytes: %w", v.xsaveSize, ErrUnsupported)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return v, nil
}

func (s *System) call(req uintptr, name string, arg uintptr) (int, error) {
	return ioctlNumber(s.fd, req, name, arg)
}

// ioctlNumber is ioctl(2) for a request whose argument is a number, repeated
// when a signal interrupted it.
func ioctlNumber(fd int, req uintptr, name string, arg uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, arg)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("%s: %w", name, errno)
		}
	}
}
