package kvm

import "testing"

func TestExitNames(t *testing.T) {
	for r, want := range map[ExitReason]string{
		ExitIO: "io", ExitMMIO: "mmio", ExitHLT: "hlt", ExitShutdown: "shutdown", ExitIntr: "intr",
		ExitSystemEvent: "system_event", 13: "exit_13", 4_000_000_000: "exit_4000000000",
	} {
		if got := r.String(); got != want {
			t.Errorf("exit reason %d is %q, want %q", uint32(r), got, want)
		}
	}
	seen := map[string]bool{}
	for r := range ExitReasons {
		s := ExitReason(r).String()
		if seen[s] {
			t.Errorf("two exit reasons are %q", s)
		}
		seen[s] = true
	}
}

func TestFlexible(t *testing.T) {
	for n := range 5 {
		h, e := flexible[msrsHeader, MSR](n)
		if h == nil || len(e) != n || cap(e) != n {
			t.Fatalf("%d entries: header %v, length %d, capacity %d", n, h, len(e), cap(e))
		}
		h.Nmsrs = ^uint32(0)
		h.Pad = ^uint32(0)
		for i := range e {
			if e[i] != (MSR{}) {
				t.Errorf("entry %d of %d overlaps the header: %+v", i, n, e[i])
			}
			e[i].Data = uint64(i)
		}
	}
	// A header whose size is no multiple of 8.
	h, list := flexible[msrListHeader, uint32](3)
	list[0], list[2] = 1, 3
	if h.Nmsrs != 0 || list[1] != 0 {
		t.Errorf("header %+v, list %v", h, list)
	}
}
