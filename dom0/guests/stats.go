package guests

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gozen/dom0/fault"
	"gozen/dom0/procfs"
	"gozen/dom0/upload"
	"gozen/hypervisor/vmmapi"
)

// Stats are a guest's counters and what it uses.
type Stats struct {
	VMM     vmmapi.Stats
	CPUTime time.Duration // of the vmm's threads, the vCPUs included
	// MemoryResident is how much of the guest's memory is really taken, in bytes.
	MemoryResident uint64
	// VMMPrivate is the anonymous memory of the vmm process, in bytes: all that is
	// its own, without guest memory and without the program's text.
	VMMPrivate uint64
}

// Stats returns the guest's counters: those of now, or of its end.
func (m *Manager) Stats(ctx context.Context, name string) (*Stats, error) {
	g, err := m.find(name)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	v := g.vm
	g.mu.Unlock()
	if v == nil {
		if o := readOutcome(g.dir); o != nil && o.Stats != nil {
			return &Stats{VMM: *o.Stats}, nil
		}
		return nil, fault.New(fault.Precondition, "guest %q: is not running, and left no counters", name)
	}
	resp, err := v.request(ctx, vmmapi.Request{Op: vmmapi.OpStats})
	if err != nil {
		return nil, fmt.Errorf("guest %q: %w", name, err)
	}
	if resp.Stats == nil {
		return nil, errors.New("the vmm answers without counters")
	}
	out := &Stats{VMM: *resp.Stats}
	out.measure(v)
	if m.opt.Cgroups != nil {
		if out.CPUTime, err = m.opt.Cgroups.Group(g.id).CPUTime(); err != nil {
			return nil, fmt.Errorf("guest %q: %w", name, err)
		}
	}
	return out, nil
}

// measure fills in what the kernel knows of the process. What cannot be read,
// since the process is just ending, stays zero.
func (s *Stats) measure(v *vm) {
	pid := strconv.Itoa(v.PID)
	var st unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%s/fd/%d", pid, v.MemoryFD), &st) == nil {
		s.MemoryResident = uint64(st.Blocks) * 512
	}
	if n, err := procfs.Memory(pid, procfs.ResidentPrivate); err == nil {
		s.VMMPrivate = n
	}
}

// diskError explains a failed write of state.
func diskError(what, dir string, err error) error { return upload.DiskError(what, dir, err) }
