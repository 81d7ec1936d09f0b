package guests

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/dom0/fault"
	"gozen/dom0/naming"
	"gozen/dom0/quantity"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypervisor/platform"
)

const (
	mib = 1 << 20

	defaultMemory  = 256 * mib
	minMemory      = 16 * mib // less than any Linux kernel starts in
	defaultCmdline = "console=hvc0"
	// maxCmdline is Linux's COMMAND_LINE_SIZE on x86, without the final zero and
	// what the platform adds.
	maxCmdline         = 2047 - len(platform.KernelParameters) - 1
	defaultEntropyRate = 1 * mib // bytes a second
	maxEntropyRate     = 1 << 30
	defaultStopTimeout = 60 * time.Second
	maxStopTimeout     = 24 * time.Hour
	maxDevices         = 24 // disks and NICs; the rest of bus 0's 31 slots is for the other devices
	maxSerial          = 20 // virtio 1.2, 5.2.6: length of the serial number
	maxLabels          = 64
	maxLabel           = 256 // bytes of a key or a value
	minCPULimit        = 10  // thousandths: the kernel's least quota, 1 ms in 100 ms

	// DefaultNetwork is the only network so far.
	DefaultNetwork = "default"
)

// complete checks what the admin asked for and returns a copy with everything
// filled in that was left to the host.
func complete(spec *gozenv1.GuestSpec, hostCPUs int, hostMemory uint64) (*gozenv1.GuestSpec, error) {
	if spec == nil {
		return nil, fault.New(fault.Invalid, "guest: the spec is missing")
	}
	if err := naming.Check("guest", spec.GetName()); err != nil {
		return nil, err
	}
	s := proto.CloneOf(spec)
	if err := completeSize(s, hostCPUs, hostMemory); err != nil {
		return nil, fmt.Errorf("guest %q: %w", s.Name, err)
	}
	if err := completeBoot(s); err != nil {
		return nil, fmt.Errorf("guest %q: %w", s.Name, err)
	}
	if err := completeDevices(s); err != nil {
		return nil, fmt.Errorf("guest %q: %w", s.Name, err)
	}
	if err := completePolicy(s); err != nil {
		return nil, fmt.Errorf("guest %q: %w", s.Name, err)
	}
	return s, nil
}

func completeSize(s *gozenv1.GuestSpec, hostCPUs int, hostMemory uint64) error {
	if s.Vcpus == 0 {
		s.Vcpus = 1
	}
	if s.Vcpus > platform.MaxVCPUs {
		return fault.New(fault.Invalid, "%d vCPUs: the platform has at most %d", s.Vcpus, platform.MaxVCPUs)
	}
	if int(s.Vcpus) > hostCPUs {
		return fault.New(fault.Exhausted, "%d vCPUs: the host has %d CPUs", s.Vcpus, hostCPUs)
	}
	if s.CpuLimitMillis != 0 && (s.CpuLimitMillis < minCPULimit || s.CpuLimitMillis > s.Vcpus*1000) {
		return fault.New(fault.Invalid, "CPU limit %d: between %d and %d thousandths of a CPU with %d vCPUs", s.CpuLimitMillis, minCPULimit, s.Vcpus*1000, s.Vcpus)
	}
	if s.MemoryBytes == 0 {
		s.MemoryBytes = defaultMemory
	}
	switch m := s.MemoryBytes; {
	case m%mib != 0:
		return fault.New(fault.Invalid, "memory %d bytes: not a multiple of 1MiB", m)
	case m < minMemory:
		return fault.New(fault.Invalid, "memory %s: at least %s", quantity.Bytes(m), quantity.Bytes(minMemory))
	case m > platform.MaxRAM:
		return fault.New(fault.Invalid, "memory %s: the platform has room for %s", quantity.Bytes(m), quantity.Bytes(platform.MaxRAM))
	case m > hostMemory:
		return fault.New(fault.Exhausted, "memory %s: the host has %s in all", quantity.Bytes(m), quantity.Bytes(hostMemory))
	}
	return nil
}

func completeBoot(s *gozenv1.GuestSpec) error {
	if s.Kernel == "" {
		return fault.New(fault.Invalid, "the kernel is missing: name an image that was uploaded as a kernel")
	}
	if err := naming.CheckFile("image", s.Kernel); err != nil {
		return err
	}
	if s.Initrd != "" {
		if err := naming.CheckFile("image", s.Initrd); err != nil {
			return err
		}
	}
	if s.Cmdline == "" {
		s.Cmdline = defaultCmdline
	}
	if len(s.Cmdline) > maxCmdline {
		return fault.New(fault.Invalid, "command line of %d bytes: at most %d fit a kernel, after what the platform adds", len(s.Cmdline), maxCmdline)
	}
	if i := strings.IndexFunc(s.Cmdline, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fault.New(fault.Invalid, "command line: control character %q at byte %d", s.Cmdline[i], i)
	}
	return nil
}

func completeDevices(s *gozenv1.GuestSpec) error {
	if n := len(s.Disks) + len(s.Nics); n > maxDevices {
		return fault.New(fault.Invalid, "%d disks and NICs: the platform has room for %d", n, maxDevices)
	}
	for i, d := range s.Disks {
		if err := naming.CheckFile("volume", d.Volume); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
		if d.Serial == "" {
			d.Serial = d.Volume[:min(len(d.Volume), maxSerial)]
		}
		if len(d.Serial) > maxSerial || strings.IndexFunc(d.Serial, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			return fault.New(fault.Invalid, "disk %d: serial %q: up to %d visible ASCII characters", i, d.Serial, maxSerial)
		}
	}
	for i, n := range s.Nics {
		if n.Network == "" {
			n.Network = DefaultNetwork
		}
		if n.Network != DefaultNetwork {
			return fault.New(fault.NotFound, "NIC %d: network %q: there is only %q", i, n.Network, DefaultNetwork)
		}
		mac, err := completeMAC(n.Mac)
		if err != nil {
			return fmt.Errorf("NIC %d: %w", i, err)
		}
		n.Mac = mac
	}
	if s.Entropy == nil {
		s.Entropy = &gozenv1.Entropy{}
	}
	if s.Entropy.BytesPerSecond == 0 {
		s.Entropy.BytesPerSecond = defaultEntropyRate
	}
	if s.Entropy.BytesPerSecond > maxEntropyRate {
		return fault.New(fault.Invalid, "entropy: %s a second: at most %s", quantity.Bytes(s.Entropy.BytesPerSecond), quantity.Bytes(maxEntropyRate))
	}
	return nil
}

func completePolicy(s *gozenv1.GuestSpec) error {
	switch s.Restart {
	case gozenv1.RestartPolicy_RESTART_POLICY_UNSPECIFIED:
		s.Restart = gozenv1.RestartPolicy_RESTART_POLICY_NEVER
	case gozenv1.RestartPolicy_RESTART_POLICY_NEVER, gozenv1.RestartPolicy_RESTART_POLICY_ON_CRASH, gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS:
	default:
		return fault.New(fault.Invalid, "restart policy %d: this host does not know it", s.Restart)
	}
	timeout, err := Timeout(s.StopTimeout, defaultStopTimeout)
	if err != nil {
		return fmt.Errorf("stop timeout: %w", err)
	}
	s.StopTimeout = durationpb.New(timeout)
	if len(s.Labels) > maxLabels {
		return fault.New(fault.Invalid, "%d labels: at most %d", len(s.Labels), maxLabels)
	}
	for k, v := range s.Labels {
		if k == "" || len(k) > maxLabel || len(v) > maxLabel {
			return fault.New(fault.Invalid, "label %.40q: key and value have at most %d bytes, the key at least one", k, maxLabel)
		}
	}
	return nil
}

// Timeout checks a duration that a client sent; unset and 0 mean the default.
func Timeout(d *durationpb.Duration, otherwise time.Duration) (time.Duration, error) {
	if d == nil {
		return otherwise, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, fault.New(fault.Invalid, "%w", err)
	}
	switch t := d.AsDuration(); {
	case t == 0:
		return otherwise, nil
	case t < 0 || t > maxStopTimeout:
		return 0, fault.New(fault.Invalid, "%s: between 0s and %s", t, maxStopTimeout)
	default:
		return t, nil
	}
}

// completeMAC checks a MAC address and returns it in the usual form, or a random
// one of those that anybody may use.
func completeMAC(text string) (string, error) {
	if text == "" {
		mac := make(net.HardwareAddr, 6)
		_, _ = rand.Read(mac) // never fails, as documented
		mac[0] = mac[0]&^3 | 2
		return mac.String(), nil
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return "", fault.New(fault.Invalid, "MAC address %q: six bytes as in 02:00:5e:10:00:01", text)
	}
	if mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return "", fault.New(fault.Invalid, "MAC address %q: a NIC needs an individual address, not a group's", text)
	}
	return mac.String(), nil
}

// uses lists the volumes of a spec for package volumes.
func uses(s *gozenv1.GuestSpec) []volumes.Use {
	out := make([]volumes.Use, len(s.Disks))
	for i, d := range s.Disks {
		out[i] = volumes.Use{Volume: d.Volume, ReadOnly: d.ReadOnly}
	}
	return out
}
