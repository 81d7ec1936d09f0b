package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"gozen/dom0/fault"
	"gozen/dom0/guests"
	"gozen/dom0/hostinfo"
	"gozen/dom0/initctl"
	"gozen/dom0/procfs"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypervisor/vmmapi"
)

// hostReserve is the memory that guests cannot have: for the kernel, the daemon
// and the page cache they need to work at all.
const hostReserve = 192 << 20

// host is what the API shows of the host as a whole. It implements api.Host.
type host struct {
	d         *daemon
	info      hostinfo.Host
	hostname  string
	machineID string
	guests    *guests.Manager

	mu       sync.Mutex
	problems []string
	down     bool // a shutdown has begun
}

// problem notes what does not work.
func (h *host) problem(what string, err error) {
	h.d.log.Error(what, "err", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, fmt.Sprintf("%s: %v", what, err))
}

// problemList returns what does not work.
func (h *host) problemList() []string {
	h.mu.Lock()
	out := append([]string(nil), h.problems...)
	h.mu.Unlock()
	if h.d.store != nil {
		if p := h.d.store.Status().Problem; p != "" {
			out = append(out, p)
		}
	}
	return append(out, h.d.networkProblems()...)
}

// reserved is how much of the host's memory guests cannot have, in bytes. State
// in memory counts, since a volume is as large as what is written to it.
func (h *host) reserved() uint64 {
	n := uint64(hostReserve)
	if s, err := h.d.storage(); err == nil && !s.Persistent {
		n += s.SizeBytes - s.FreeBytes
	}
	return n
}

// Info describes the host.
func (h *host) Info() (*gozenv1.GetInfoResponse, error) {
	given, running, free := h.guests.Memory()
	out := &gozenv1.GetInfoResponse{
		Hostname:          h.hostname,
		Version:           Version,
		KernelRelease:     h.info.KernelRelease,
		BootTime:          timestamppb.New(h.info.BootTime),
		MachineId:         h.machineID,
		Cpus:              uint32(h.info.CPUs),
		CpuModel:          h.info.CPUModel,
		Virtualization:    h.info.Virtualization,
		MemoryTotalBytes:  h.info.MemoryBytes,
		MemoryGuestsBytes: given,
		MemoryFreeBytes:   free,
		GuestsRunning:     uint32(running),
		GuestsTotal:       uint32(len(h.guests.List())),
		Platform:          vmmapi.Platform,
		Features:          hostinfo.Features(),
		Problems:          h.problemList(),
	}
	// PID 1 and this process, which is the daemon.
	for _, process := range []string{"1", "self"} {
		n, err := procfs.Memory(process, procfs.Resident)
		if err != nil {
			return nil, err
		}
		out.Dom0ResidentBytes += n
	}
	s, err := h.d.storage()
	if err != nil {
		return nil, err
	}
	out.Storage = &gozenv1.Storage{
		Persistent: s.Persistent,
		Device:     s.Device,
		Filesystem: s.Filesystem,
		SizeBytes:  s.SizeBytes,
		FreeBytes:  s.FreeBytes,
	}
	interfaces, err := hostinfo.Interfaces()
	if err != nil {
		return nil, err
	}
	management := h.d.uplinkState().Interface
	for _, i := range interfaces {
		out.Interfaces = append(out.Interfaces, &gozenv1.HostInterface{
			Name: i.Name, Mac: i.MAC, Addresses: i.Addresses, Up: i.Up,
			Management: i.Name == management,
		})
	}
	return out, nil
}

// Shutdown stops the guests and asks PID 1 to take the host down.
func (h *host) Shutdown(_ context.Context, reboot bool, timeout time.Duration) error {
	h.mu.Lock()
	if h.down {
		h.mu.Unlock()
		return fault.New(fault.Precondition, "the host is shutting down already")
	}
	h.down = true
	h.mu.Unlock()
	h.d.log.Info("the host goes down", "reboot", reboot, "timeout", timeout)
	// It goes on when the client that asked for it is gone.
	ctx := context.Background()
	h.guests.Shutdown(ctx, timeout)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pid1 := initctl.Client{Path: h.d.path(initctl.SocketPath)}
	ask := pid1.PowerOff
	if reboot {
		ask = pid1.Reboot
	}
	if err := ask(ctx); err != nil {
		h.mu.Lock()
		h.down = false
		h.mu.Unlock()
		h.guests.Resume()
		return fault.New(fault.Unavailable, "the guests are stopped, but the host does not go down: %w", err)
	}
	return nil
}
