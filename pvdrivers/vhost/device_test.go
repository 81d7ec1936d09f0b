package vhost

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/guestmem"
	"gozen/pvdrivers/virtio"
)

func newMemory(t *testing.T, regions ...guestmem.Region) *guestmem.Memory {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	end := uint64(0)
	for i := range regions {
		regions[i].Offset = end
		end += regions[i].Size
	}
	if err := unix.Ftruncate(fd, int64(end)); err != nil {
		t.Fatal(err)
	}
	m, err := guestmem.Map(fd, regions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Unmap)
	return m
}

func TestRingAddr(t *testing.T) {
	m := newMemory(t,
		guestmem.Region{GuestAddr: 0, Size: 0x10000},
		guestmem.Region{GuestAddr: 0x100000, Size: 0x10000})
	low, high := uint64(m.HostAddr(0)), uint64(m.HostAddr(1))
	for _, c := range []struct {
		name string
		q    virtio.Queue
		want vringAddr
		ok   bool
	}{
		{
			"one region", virtio.Queue{Size: 256, Desc: 0x1000, Driver: 0x2000, Device: 0x3000},
			vringAddr{DescUserAddr: low + 0x1000, AvailUserAddr: low + 0x2000, UsedUserAddr: low + 0x3000}, true,
		},
		{
			"two regions", virtio.Queue{Size: 2, Desc: 0, Driver: 0x100000, Device: 0x10fff0 - 6},
			vringAddr{DescUserAddr: low, AvailUserAddr: high, UsedUserAddr: high + 0xfff0 - 6}, true,
		},
		{
			"up to the last byte", virtio.Queue{Size: 256, Desc: 0xf000, Driver: 0x10000 - 518, Device: 0x110000 - 2054},
			vringAddr{DescUserAddr: low + 0xf000, AvailUserAddr: low + 0x10000 - 518, UsedUserAddr: high + 0x10000 - 2054}, true,
		},
		{"table past the end", virtio.Queue{Size: 256, Desc: 0xf001, Driver: 0x2000, Device: 0x3000}, vringAddr{}, false},
		{"available event past the end", virtio.Queue{Size: 256, Desc: 0x1000, Driver: 0x10000 - 517, Device: 0x3000}, vringAddr{}, false},
		{"used event past the end", virtio.Queue{Size: 256, Desc: 0x1000, Driver: 0x2000, Device: 0x110000 - 2053}, vringAddr{}, false},
		{"between the regions", virtio.Queue{Size: 1, Desc: 0x20000, Driver: 0x2000, Device: 0x3000}, vringAddr{}, false},
		{"wraps around", virtio.Queue{Size: 32768, Desc: ^uint64(15), Driver: 0x2000, Device: 0x3000}, vringAddr{}, false},
	} {
		got, err := ringAddr(m, c.q)
		if c.ok && (err != nil || got != c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		if !c.ok && !errors.Is(err, guestmem.ErrOutOfRange) {
			t.Errorf("%s: %v, want ErrOutOfRange", c.name, err)
		}
	}
}

func FuzzRingAddr(f *testing.F) {
	f.Add(uint16(256), uint64(0x1000), uint64(0x2000), uint64(0x3000))
	f.Add(uint16(32768), uint64(0), ^uint64(0), uint64(1)<<63)
	f.Add(uint16(1), uint64(0xfff0), uint64(0xfff8), uint64(0xfff2))
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		f.Fatal(err)
	}
	defer unix.Close(fd)
	const size = 0x10000
	if err := unix.Ftruncate(fd, size); err != nil {
		f.Fatal(err)
	}
	m, err := guestmem.Map(fd, []guestmem.Region{{Size: size}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(m.Unmap)
	base := uint64(m.HostAddr(0))
	f.Fuzz(func(t *testing.T, n uint16, desc, driver, device uint64) {
		a, err := ringAddr(m, virtio.Queue{Size: n, Desc: desc, Driver: driver, Device: device})
		if err != nil || n == 0 {
			return
		}
		for _, part := range [][2]uint64{
			{a.DescUserAddr, 16 * uint64(n)}, {a.AvailUserAddr, 6 + 2*uint64(n)}, {a.UsedUserAddr, 6 + 8*uint64(n)},
		} {
			if part[0] < base || part[0]+part[1] > base+size {
				t.Errorf("%#x+%#x is outside the mapping", part[0], part[1])
			}
		}
	})
}

func TestErrorsNameTheRequest(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := Open(fd)
	err = d.SetOwner()
	if !errors.Is(err, unix.ENOTTY) || err.Error() != "VHOST_SET_OWNER: inappropriate ioctl for device" {
		t.Errorf("SetOwner of /dev/null: %v", err)
	}
	if f, err := d.BackendFeatures(); f != 0 || err != nil {
		t.Errorf("BackendFeatures of a kernel without them: %#x, %v", f, err)
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
