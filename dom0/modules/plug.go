package modules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Coldplug loads the drivers of all devices that sysfs shows now. A device
// without a driver in the image is no error. sysDir is "/sys/devices" on a host.
func (t *Tree) Coldplug(sysDir string) error {
	aliases, err := modaliases(sysDir)
	if err != nil {
		return fmt.Errorf("looking for devices: %w", err)
	}
	var errs []error
	for _, a := range aliases {
		if err := t.Load(a); err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// modaliases returns the different aliases below dir.
func modaliases(dir string) ([]string, error) {
	var out []string
	seen := make(map[string]bool)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // devices come and go during the walk
		}
		if d.IsDir() || d.Name() != "modalias" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil
		}
		if a := strings.TrimSpace(string(text)); a != "" && !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
		return nil
	})
	return out, err
}

// Uevent is what the kernel says about a device.
type Uevent struct {
	Action string            // "add", "remove", "change", …
	Path   string            // below /sys
	Env    map[string]string // SUBSYSTEM, DEVNAME, MODALIAS, …
}

// ParseUevent reads a message of the kernel's uevent socket: a header line and
// variables, each ended by a zero byte.
func ParseUevent(msg []byte) (Uevent, bool) {
	header, rest, _ := bytes.Cut(msg, []byte{0})
	action, path, ok := strings.Cut(string(header), "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Uevent{}, false
	}
	ev := Uevent{Action: action, Path: path, Env: make(map[string]string)}
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		if key, value, ok := strings.Cut(string(field), "="); ok {
			ev.Env[key] = value
		}
	}
	return ev, true
}

// Hotplug reads the kernel's uevents, loads the drivers of devices that appear
// and gives every event to seen (which may be nil), until ctx ends. ready is
// called when the socket is open: a Coldplug after that misses nothing.
func (t *Tree) Hotplug(ctx context.Context, ready func(), seen func(Uevent)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "uevents")
	defer f.Close()
	// Group 1 is the kernel's own; group 2, where udev repeats events, is not heard.
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	// A burst of devices at boot must fit. Failing that, ENOBUFS is handled below.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	ready()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, unix.ENOBUFS) {
			// Events were lost: look at all devices again. A driver that fails
			// has failed before and was reported then.
			_ = t.Coldplug("/sys/devices")
			continue
		}
		if err != nil {
			return fmt.Errorf("reading uevents: %w", err)
		}
		ev, ok := ParseUevent(buf[:n])
		if !ok {
			continue
		}
		if a := ev.Env["MODALIAS"]; a != "" && ev.Action == "add" {
			_ = t.Load(a) // most devices have no driver here, and need none
		}
		if seen != nil {
			seen(ev)
		}
	}
}
