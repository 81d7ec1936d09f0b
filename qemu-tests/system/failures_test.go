//go:build system

package system

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// A vmm that is killed takes its own guest down and nothing else; the guest can
// be started again.
func testKilledVMM(t *testing.T, h *host) {
	h.volume(t, "victim", 8*mib)
	spec := small("victim")
	spec.Nics = []*gozenv1.Nic{{}}
	spec.Disks = []*gozenv1.Disk{{Volume: "victim"}}
	other := h.boot(t, small("other"))
	c := h.boot(t, spec)
	c.do("write /dev/vda 0 64 9")
	h.shell(t, fmt.Sprintf("kill -9 %d", h.get(t, "victim").GetStatus().GetVmmPid()))
	g := h.wait(t, "victim", gozenv1.GuestState_GUEST_STATE_CRASHED)
	if g.GetStatus().GetReasonCode() != "vmm-died" {
		t.Errorf("reason code %q (%s), want vmm-died", g.GetStatus().GetReasonCode(), g.GetStatus().GetReason())
	}
	other.do("echo alive")
	h.start(t, "victim")
	c = h.attach(t, "victim").ready()
	c.do("verify /dev/vda 0 64 9")
	leased(t, c)
}

// The daemon may be killed at any time: guests go on, and are found again.
func testKilledDaemon(t *testing.T, h *host) {
	h.volume(t, "survivor", 8*mib)
	spec := small("survivor")
	spec.Nics = []*gozenv1.Nic{{}}
	spec.Disks = []*gozenv1.Disk{{Volume: "survivor"}}
	c := h.boot(t, spec)
	address := leased(t, c)
	before := h.get(t, "survivor")
	h.shell(t, "kill -9 $(pidof gozend)")
	h.wait4API(t, 2*time.Minute)
	after := h.get(t, "survivor")
	if after.GetStatus().GetState() != gozenv1.GuestState_GUEST_STATE_RUNNING ||
		after.GetStatus().GetVmmPid() != before.GetStatus().GetVmmPid() {
		t.Fatalf("after the daemon's restart: %v; before: %v", after.GetStatus(), before.GetStatus())
	}
	c = h.attach(t, "survivor") // with the retained output
	c.expect("testguest: ready", time.Minute)
	c.do("write /dev/vda 0 64 3")
	c.do("ping %s 2", gateway)
	if nics := after.GetStatus().GetNics(); len(nics) != 1 || nics[0].GetAddress() != address {
		t.Errorf("the lease of %s was forgotten: %v", address, nics)
	}
	// The restarted daemon stops the guest like the old one would.
	c.expect("", time.Second)
	h.stop(t, "survivor")
	second := small("second") // and starts others
	second.Nics = []*gozenv1.Nic{{}}
	if a := leased(t, h.boot(t, second)); a == address {
		t.Errorf("address %s given twice", a)
	}
}

// A guest that fills the data disk gets I/O errors; its volume stays sound and
// the host goes on working.
func testFullDisk(t *testing.T, h *host) {
	info, err := h.hosts.GetInfo(ctx(t), connect.NewRequest(&gozenv1.GetInfoRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	free := info.Msg.GetStorage().GetFreeBytes()
	h.volume(t, "filler", (free/mib+512)*mib)
	spec := small("filler")
	spec.Disks = []*gozenv1.Disk{{Volume: "filler"}}
	c := h.boot(t, spec)
	c.do("write /dev/vda 0 256 5")
	// Ballast from the admin's side leaves little for the guest to fill.
	blocks := (free + 64*mib) / 4096
	if _, err := c.try("write /dev/vda 256 %d 5", blocks); err == nil {
		t.Fatal("the guest wrote more than the disk holds")
	} else {
		t.Logf("the guest's write: %v", err)
	}
	c.do("echo alive")
	c.do("verify /dev/vda 0 256 5")
	if _, err := h.guests.List(ctx(t), connect.NewRequest(&gozenv1.ListGuestsRequest{})); err != nil {
		t.Errorf("the API does not work with a full disk: %v", err)
	}
}
