package machine

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/platform"
	"gozen/pvdrivers/guestmem"
)

// Memory slots of KVM. RAM has the first ones.
const slotECAM = 8

// regions lays out size bytes of RAM around the devices below 4 GiB.
func regions(size uint64) []guestmem.Region {
	low := min(size, platform.LowRAMEnd)
	out := []guestmem.Region{{GuestAddr: 0, Size: low, Offset: 0}}
	if size > low {
		out = append(out, guestmem.Region{GuestAddr: platform.HighRAMBase, Size: size - low, Offset: low})
	}
	return out
}

// mapMemory maps the memfd, takes it over, and gives it to the guest.
func mapMemory(vm *kvm.VM, fd int, size uint64) (*guestmem.Memory, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("guest memory: fstat: %w", err)
	}
	if st.Size < 0 || uint64(st.Size) != size {
		return nil, fmt.Errorf("guest memory: the file has %d bytes and the guest %d", st.Size, size)
	}
	m, err := guestmem.Map(fd, regions(size))
	if err != nil {
		return nil, err
	}
	for i, r := range m.Regions() {
		if err := wantHugePages(m, r); err != nil {
			m.Unmap()
			return nil, err
		}
		if err := vm.SetMemory(uint32(i), 0, r.GuestAddr, r.Size, m.HostAddr(i)); err != nil {
			m.Unmap()
			return nil, err
		}
	}
	return m, nil
}

// wantHugePages asks for pages of 2 MiB where the host gives them to files in
// memory (shmem_enabled is "advise"). The guest then leaves once for 512 pages
// that it touches first, and walks shorter page tables ever after. A host without
// them says EINVAL, which is no error.
func wantHugePages(m *guestmem.Memory, r guestmem.Region) error {
	b, err := m.Slice(r.GuestAddr, r.Size)
	if err != nil {
		return err
	}
	if err := unix.Madvise(b, unix.MADV_HUGEPAGE); err != nil && err != unix.EINVAL {
		return fmt.Errorf("guest memory: huge pages: %w", err)
	}
	return nil
}
