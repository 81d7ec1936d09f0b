//go:build system

package system

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

const gateway = "10.77.0.1"

// A small guest sees the machine it was promised, and its devices work.
func testSmallGuest(t *testing.T, h *host) {
	h.volume(t, "small-rw", 64*mib)
	h.volume(t, "small-ro", 8*mib)
	spec := small("small")
	spec.Vcpus = 2
	spec.Vsock = true
	spec.Nics = []*gozenv1.Nic{{}}
	spec.Disks = []*gozenv1.Disk{{Volume: "small-rw", Serial: "SER-1"}, {Volume: "small-ro", ReadOnly: true}}
	c := h.boot(t, spec)
	info := c.do("info")
	for _, want := range []string{
		"cpus 0-1", "clocksource kvm-clock", "rng virtio_rng",
		"disk vda sectors=131072 serial=SER-1 ro=0", "disk vdb sectors=16384 serial=small-ro ro=1",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("the guest does not see %q:\n%s", want, info)
		}
	}
	g := h.get(t, "small")
	if want := fmt.Sprintf("vsock %d", g.GetStatus().GetVsockCid()); !strings.Contains(info, want+"\n") {
		t.Errorf("the guest does not see %q:\n%s", want, info)
	}
	t.Run("network", func(t *testing.T) {
		out := c.do("dhcp eth0")
		if !strings.Contains(out, "router "+gateway) {
			t.Errorf("lease without the gateway: %s", out)
		}
		c.do("ping %s 3", gateway)
		nics := h.get(t, "small").GetStatus().GetNics()
		if len(nics) != 1 || nics[0].GetAddress() == "" || !strings.Contains(out, nics[0].GetAddress()) {
			t.Errorf("the API says %v, the guest says %s", nics, out)
		}
		if len(nics) == 1 && !nics[0].GetVhost() {
			t.Error("the kernel has vhost-net, but the guest does not use it")
		}
	})
	t.Run("disk", func(t *testing.T) {
		c.do("write /dev/vda 0 2048 1") // 8 MiB
		c.do("verify /dev/vda 0 2048 1")
		before := h.allocated(t, "small-rw")
		if before < 8*mib {
			t.Errorf("8 MiB written, %d bytes allocated", before)
		}
		c.do("discard /dev/vda 0 %d", 4*mib)
		if after := h.allocated(t, "small-rw"); after > before-3*mib {
			t.Errorf("4 MiB discarded, but %d bytes are allocated, %d before", after, before)
		}
		c.do("zero /dev/vda %d %d", 4*mib, 2*mib)
		c.do("verify /dev/vda 1536 512 1")
		if _, err := c.try("verify /dev/vda 1024 1 1"); err == nil {
			t.Error("a zeroed block still has its content")
		}
		if _, err := c.try("write /dev/vdb 0 1 1"); err == nil {
			t.Error("a read-only disk was written")
		}
	})
	t.Run("entropy", func(t *testing.T) {
		if out := c.do("entropy 4096"); !strings.Contains(out, "entropy 4096 bytes, 25") {
			t.Errorf("4096 random bytes should hold some 256 values: %s", out)
		}
	})
	t.Run("stats", func(t *testing.T) {
		r, err := h.guests.Stats(ctx(t), connect.NewRequest(&gozenv1.GuestStatsRequest{Name: "small"}))
		if err != nil {
			t.Fatal(err)
		}
		s := r.Msg
		if s.GetKvm()["exits"] == 0 || len(s.GetVmmExits()) == 0 {
			t.Errorf("no exit counters: %v", s)
		}
		t.Logf("exits %v; kvm %v; private %d KiB", s.GetVmmExits(), s.GetKvm(), s.GetVmmPrivateBytes()>>10)
	})
	t.Run("power button", func(t *testing.T) {
		c.showed("power button is watched", time.Minute)
		h.stop(t, "small")
	})
	t.Run("data is there at the next start", func(t *testing.T) {
		h.start(t, "small")
		c := h.attach(t, "small")
		c.expect("testguest: ready", bootTime)
		c.do("verify /dev/vda 1536 512 1")
	})
}

func (h *host) allocated(t *testing.T, name string) uint64 {
	t.Helper()
	r, err := h.volumes.Get(ctx(t), connect.NewRequest(&gozenv1.GetVolumeRequest{Name: name}))
	if err != nil {
		t.Fatal(err)
	}
	return r.Msg.GetVolume().GetAllocatedBytes()
}

// What reaches the vmm during a boot does not depend on how fast the host is, so
// it has a bound. All exits together do (timer ticks are exits), so the benchmark
// counts those.
func testBootExits(t *testing.T, h *host) {
	c := h.boot(t, small("exits"))
	c.do("echo")
	r, err := h.guests.Stats(ctx(t), connect.NewRequest(&gozenv1.GuestStatsRequest{Name: "exits"}))
	if err != nil {
		t.Fatal(err)
	}
	vmm := uint64(0)
	for _, n := range r.Msg.GetVmmExits() {
		vmm += n
	}
	t.Logf("exits until the guest's userspace: %d; those that reached the vmm, a little later: %d, %v", r.Msg.GetExitsAtConsoleOpen(), vmm, r.Msg.GetVmmExits())
	if vmm == 0 || vmm > 450 {
		t.Errorf("%d exits reached the vmm, at most 450 are promised", vmm)
	}
	if r.Msg.GetExitsAtConsoleOpen() == 0 {
		t.Error("exits until the guest's userspace were not counted")
	}
}

// Two guests reach each other, one by vhost-net and one by the vmm's own path.
func testTwoGuests(t *testing.T, h *host) {
	a, b := small("talk-a"), small("talk-b")
	a.Nics = []*gozenv1.Nic{{}}
	b.Nics = []*gozenv1.Nic{{Userspace: true}}
	ca, cb := h.boot(t, a), h.boot(t, b)
	addrA, addrB := leased(t, ca), leased(t, cb)
	ca.do("ping %s 3", addrB)
	ca.do("serve 7000")
	cb.do("serve 7000")
	cb.do("fetch %s:7000 4000000", addrA)
	ca.do("fetch %s:7000 4000000", addrB)
	if nics := h.get(t, "talk-b").GetStatus().GetNics(); len(nics) != 1 || nics[0].GetVhost() {
		t.Errorf("the guest asked for the userspace path and has %v", nics)
	}
}

var lease = regexp.MustCompile(`address ([0-9.]+)/`)

func leased(t *testing.T, c *console) string {
	t.Helper()
	out := c.do("dhcp eth0")
	m := lease.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no address in %q", out)
	}
	return m[1]
}

// Four guests start at once and each gets an address of its own.
func testFourGuests(t *testing.T, h *host) {
	var names []string
	for i := range 4 {
		spec := small("four-" + strconv.Itoa(i))
		spec.Nics = []*gozenv1.Nic{{}}
		h.create(t, spec)
		names = append(names, spec.Name)
	}
	for _, n := range names {
		h.start(t, n)
	}
	seen := map[string]string{}
	for _, n := range names {
		a := leased(t, h.attach(t, n).ready())
		if other, ok := seen[a]; ok {
			t.Errorf("%s and %s both have %s", n, other, a)
		}
		seen[a] = n
	}
}

// A guest that crashes is reported as such, and its restart policy obeyed.
func testCrashes(t *testing.T, h *host) {
	t.Run("panic", func(t *testing.T) {
		c := h.boot(t, small("panics"))
		c.send("panic\n")
		g := h.wait(t, "panics", gozenv1.GuestState_GUEST_STATE_CRASHED)
		if g.GetStatus().GetReasonCode() != "panic" {
			t.Errorf("reason code %q (%s), want panic", g.GetStatus().GetReasonCode(), g.GetStatus().GetReason())
		}
	})
	t.Run("triple fault", func(t *testing.T) {
		spec := small("triple")
		spec.Cmdline += " reboot=t"
		c := h.boot(t, spec)
		c.send("reboot\n")
		g := h.wait(t, "triple", gozenv1.GuestState_GUEST_STATE_CRASHED)
		if g.GetStatus().GetReasonCode() != "triple-fault" {
			t.Errorf("reason code %q (%s), want triple-fault", g.GetStatus().GetReasonCode(), g.GetStatus().GetReason())
		}
	})
	t.Run("restart on crash", func(t *testing.T) {
		spec := small("restarts")
		spec.Restart = gozenv1.RestartPolicy_RESTART_POLICY_ON_CRASH
		c := h.boot(t, spec)
		c.send("panic\n")
		c.expect("Kernel panic", time.Minute)
		c.ready() // the console goes on over the restart
		if n := h.get(t, "restarts").GetStatus().GetRestarts(); n != 1 {
			t.Errorf("%d restarts, want 1", n)
		}
	})
	t.Run("reboot", func(t *testing.T) {
		c := h.boot(t, small("reboots"))
		pid := h.get(t, "reboots").GetStatus().GetVmmPid()
		c.send("reboot\n")
		c.ready()
		if g := h.get(t, "reboots"); g.GetStatus().GetVmmPid() == pid || g.GetStatus().GetRestarts() != 0 {
			t.Errorf("after a reboot: pid %d (before %d), %d restarts", g.GetStatus().GetVmmPid(), pid, g.GetStatus().GetRestarts())
		}
	})
}

// A guest that hands hostile rings to its devices puts those in error and nothing
// else.
func testHostileRings(t *testing.T, h *host) {
	h.volume(t, "hostile", 8*mib)
	bystander := h.boot(t, small("bystander"))
	for _, lie := range []string{"far", "loop", "index", "huge", "table"} {
		t.Run(lie, func(t *testing.T) {
			spec := small("hostile-" + lie)
			spec.Nics = []*gozenv1.Nic{{Userspace: true}, {}}
			spec.Disks = []*gozenv1.Disk{{Volume: "hostile"}}
			spec.Vsock = true
			c := h.boot(t, spec)
			devices := map[string]string{}
			for _, m := range regexp.MustCompile(`pci (\S+) 0x(10\w\w)`).FindAllStringSubmatch(c.do("info"), -1) {
				devices[m[1]] = m[2]
			}
			lied := 0
			for address, id := range devices {
				if id == "1043" { // its own console is how the guest answers
					continue
				}
				c.do("rings %s %s", address, lie)
				lied++
			}
			if lied < 4 {
				t.Fatalf("only %d devices found: %v", lied, devices)
			}
			c.do("echo alive")
			g := h.get(t, spec.Name)
			if g.GetStatus().GetState() != gozenv1.GuestState_GUEST_STATE_RUNNING {
				t.Errorf("the guest is %v: %s", g.GetStatus().GetState(), g.GetStatus().GetReason())
			}
			if !strings.Contains(strings.Join(g.GetStatus().GetDeviceErrors(), " "), "virtio-blk0") {
				t.Errorf("the lied-to disk is not reported: %q", g.GetStatus().GetDeviceErrors())
			}
			t.Logf("device errors: %q", g.GetStatus().GetDeviceErrors())
		})
	}
	bystander.do("entropy 100")
}
