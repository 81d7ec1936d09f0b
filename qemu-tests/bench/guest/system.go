package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// mountAll mounts what the workloads and fio need. What fails does not keep the
// others from being mounted.
func mountAll() error {
	var errs []error
	for _, m := range []struct{ kind, target string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			errs = append(errs, err)
		}
		// EBUSY: the kernel has mounted it (CONFIG_DEVTMPFS_MOUNT).
		if err := unix.Mount(m.kind, m.target, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.target, err))
		}
	}
	return errors.Join(errs...)
}

// findConsole opens the console if the kernel gave none: an initrd without
// /dev/console has none until devtmpfs is mounted.
func (s *session) findConsole() error {
	if _, err := unix.FcntlInt(uintptr(s.out), unix.F_GETFD, 0); err == nil {
		var null, out unix.Stat_t
		// The Go runtime opens /dev/null in place of a missing descriptor.
		if unix.Stat("/dev/null", &null) != nil || unix.Fstat(s.out, &out) != nil || out.Rdev != null.Rdev {
			return nil
		}
	}
	fd, err := unix.Open("/dev/console", unix.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	s.out = fd
	s.say("@up")
	return nil
}

// configureNetwork gives eth0 an address and brings it and lo up. The kernel makes
// the route to the network of the address.
func configureNetwork(address netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer unix.Close(fd)
	if err := bringUp(fd, "lo"); err != nil {
		return err
	}
	var mask [4]byte
	for i := range address.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	ip := address.Addr().As4()
	for _, set := range []struct {
		request uint
		value   []byte
	}{{unix.SIOCSIFADDR, ip[:]}, {unix.SIOCSIFNETMASK, mask[:]}} {
		ifr, err := unix.NewIfreq("eth0")
		if err != nil {
			return fmt.Errorf("network: %w", err)
		}
		if err := ifr.SetInet4Addr(set.value); err != nil {
			return fmt.Errorf("network: %w", err)
		}
		if err := unix.IoctlIfreq(fd, set.request, ifr); err != nil {
			return fmt.Errorf("network: eth0: address %v: %w", address, err)
		}
	}
	return bringUp(fd, "eth0")
}

func bringUp(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("network: bring %s up: %w", name, err)
	}
	return nil
}
