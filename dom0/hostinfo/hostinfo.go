package hostinfo

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is what does not change while the host is up.
type Host struct {
	KernelRelease  string
	BootID         string // changes with every boot
	BootTime       time.Time
	CPUs           int
	CPUModel       string
	Virtualization string // "svm", "vmx" or ""
	MemoryBytes    uint64 // that the kernel has to give
}

// Read asks the kernel.
func Read() (Host, error) {
	var h Host
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return h, fmt.Errorf("host information: uname: %w", err)
	}
	h.KernelRelease = unix.ByteSliceToString(uts.Release[:])
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return h, fmt.Errorf("host information: %w", err)
	}
	h.BootID = strings.TrimSpace(string(id))
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return h, fmt.Errorf("host information: sysinfo: %w", err)
	}
	h.MemoryBytes = si.Totalram * uint64(si.Unit)
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return h, fmt.Errorf("host information: clock: %w", err)
	}
	h.BootTime = time.Now().Add(-time.Duration(up.Nano())).Round(time.Second)
	h.CPUs = runtime.NumCPU()
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return h, fmt.Errorf("host information: %w", err)
	}
	h.CPUModel, h.Virtualization = parseCPUInfo(cpuinfo)
	return h, nil
}

// parseCPUInfo takes the model and the virtualization extension of the first
// processor in /proc/cpuinfo.
func parseCPUInfo(b []byte) (model, virtualization string) {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20) // the line of flags is long
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "model name":
			model = value
		case "flags":
			for _, flag := range strings.Fields(value) {
				if flag == "svm" || flag == "vmx" {
					virtualization = flag
				}
			}
		case "":
			return model, virtualization
		}
	}
	return model, virtualization
}

// devices are what a feature shows itself by.
var devices = map[string]string{
	"kvm":         "/dev/kvm",
	"vhost-net":   "/dev/vhost-net",
	"vhost-vsock": "/dev/vhost-vsock",
	"tun":         "/dev/net/tun",
	"vfio":        "/dev/vfio/vfio",
}

// Features returns the kernel's features that guests can be given, in order.
func Features() []string {
	var out []string
	for name, path := range devices {
		if _, err := os.Stat(path); err == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Interface is a network interface of the host.
type Interface struct {
	Name      string
	MAC       string
	Addresses []string // CIDR notation
	Up        bool
}

// Interfaces returns the host's own network interfaces, without loopback and the
// taps of guests.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("host information: %w", err)
	}
	var out []Interface
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || isTap(i.Name) {
			continue
		}
		n := Interface{Name: i.Name, MAC: i.HardwareAddr.String(), Up: i.Flags&net.FlagUp != 0}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("host information: %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			n.Addresses = append(n.Addresses, a.String())
		}
		out = append(out, n)
	}
	return out, nil
}

func isTap(name string) bool {
	_, err := os.Stat("/sys/class/net/" + name + "/tun_flags")
	return err == nil
}

// FileSystem is the size of a mounted file system and the kind it is of.
type FileSystem struct {
	Type      string // "xfs", "tmpfs", …; hexadecimal when unknown
	SizeBytes uint64
	FreeBytes uint64 // for anybody but the kernel's reserve
}

var magics = map[int64]string{
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.RAMFS_MAGIC:           "ramfs",
}

// StatFS tells about the file system that holds path.
func StatFS(path string) (FileSystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return FileSystem{}, fmt.Errorf("host information: %s: %w", path, err)
	}
	kind, ok := magics[int64(st.Type)]
	if !ok {
		kind = "0x" + strconv.FormatInt(int64(st.Type), 16)
	}
	return FileSystem{Type: kind, SizeBytes: st.Blocks * uint64(st.Bsize), FreeBytes: st.Bavail * uint64(st.Bsize)}, nil
}

// InMemory reports whether a file system of that type keeps files in memory only.
func (f FileSystem) InMemory() bool { return f.Type == "tmpfs" || f.Type == "ramfs" }
