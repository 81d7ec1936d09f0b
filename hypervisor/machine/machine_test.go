package machine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"gozen/hypervisor/platform"
	"gozen/hypervisor/vcpu"
	"gozen/hypervisor/vmmapi"
	"gozen/pvdrivers/guestmem"
)

func TestRegions(t *testing.T) {
	const low = platform.LowRAMEnd
	for _, tc := range []struct {
		size uint64
		want []guestmem.Region
	}{
		{64 << 20, []guestmem.Region{{GuestAddr: 0, Size: 64 << 20, Offset: 0}}},
		{low, []guestmem.Region{{GuestAddr: 0, Size: low, Offset: 0}}},
		{low + 2<<20, []guestmem.Region{{GuestAddr: 0, Size: low, Offset: 0}, {GuestAddr: platform.HighRAMBase, Size: 2 << 20, Offset: low}}},
	} {
		if got := regions(tc.size); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%#x: %+v, want %+v", tc.size, got, tc.want)
		}
	}
	last := regions(platform.MaxRAM)[1]
	if end := last.GuestAddr + last.Size; end != platform.PCIWindow64Base {
		t.Errorf("the most memory ends at %#x, want %#x", end, uint64(platform.PCIWindow64Base))
	}
}

// Slots of all devices a Config may have fit the bus and do not overlap.
func TestSlots(t *testing.T) {
	if slotVsock >= slotDisk || slotDisk+vmmapi.MaxDisks > slotNic || slotNic+vmmapi.MaxNics > 32 {
		t.Errorf("slots: vsock %d, disks from %d, network from %d", slotVsock, slotDisk, slotNic)
	}
}

// Many ends at once make one outcome.
func TestFirstEndCounts(t *testing.T) {
	e := newEnding()
	var first atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if e.note(vmmapi.CodePowerOff, fmt.Sprint(i)) {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	<-e.seen
	if first.Load() != 1 || e.outcome.Code != vmmapi.CodePowerOff {
		t.Errorf("%d were first, outcome %+v", first.Load(), e.outcome)
	}
}

func TestFatalCode(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&vcpu.FatalError{Kind: vcpu.FatalTripleFault}, vmmapi.CodeTripleFault},
		{fmt.Errorf("wrapped: %w", &vcpu.FatalError{Kind: vcpu.FatalTripleFault}), vmmapi.CodeTripleFault},
		{&vcpu.FatalError{Kind: vcpu.FatalInternal}, vmmapi.CodeInternal},
		{errors.New("other"), vmmapi.CodeInternal},
	} {
		if got := fatalCode(tc.err); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.err, got, tc.want)
		}
	}
}
