package vcpu

import (
	"testing"

	"gozen/hypervisor/kvm"
)

// Vendors in EBX, EDX, ECX of leaf 0.
var (
	amd   = kvm.CPUIDEntry{Function: 0, EAX: 0x10, EBX: 0x68747541, EDX: 0x69746e65, ECX: 0x444d4163}
	intel = kvm.CPUIDEntry{Function: 0, EAX: 0x1f, EBX: 0x756e6547, EDX: 0x49656e69, ECX: 0x6c65746e}
)

const allBits = ^uint32(0)

// host is a host that has everything: all bits of all leaves.
func host(vendor kvm.CPUIDEntry) []kvm.CPUIDEntry {
	out := []kvm.CPUIDEntry{vendor}
	leaf := func(function, index, flags uint32) {
		out = append(out, kvm.CPUIDEntry{
			Function: function, Index: index, Flags: flags, EAX: allBits, EBX: allBits, ECX: allBits, EDX: allBits,
		})
	}
	for f := uint32(1); f <= vendor.EAX; f++ {
		leaf(f, 0, kvm.CPUIDSignificantIndex)
	}
	// Caches of levels 1, 2 and 3, and the end.
	cache := func(function uint32) {
		for i, level := range []uint32{1, 2, 3} {
			out = append(out, kvm.CPUIDEntry{Function: function, Index: uint32(i), Flags: kvm.CPUIDSignificantIndex, EAX: 0xffffc003 | level<<5})
		}
		out = append(out, kvm.CPUIDEntry{Function: function, Index: 3, Flags: kvm.CPUIDSignificantIndex})
	}
	out = without(out, leafCacheIntel)
	cache(leafCacheIntel)
	out = append(out,
		kvm.CPUIDEntry{Function: leafKVM, EAX: 0x40000001, EBX: 0x4b4d564b, ECX: 0x564b4d56, EDX: 0x4d},
		kvm.CPUIDEntry{Function: leafKVMFeatures, EAX: allBits, EDX: allBits},
		kvm.CPUIDEntry{Function: 0x40000002, EAX: allBits},
		kvm.CPUIDEntry{Function: leafExtended, EAX: 0x80000028},
	)
	for f := uint32(leafExtFeatures); f <= 0x80000028; f++ {
		if f != leafCacheAMD {
			leaf(f, 0, 0)
		}
	}
	cache(leafCacheAMD)
	return out
}

func without(entries []kvm.CPUIDEntry, function uint32) []kvm.CPUIDEntry {
	var out []kvm.CPUIDEntry
	for _, e := range entries {
		if e.Function != function {
			out = append(out, e)
		}
	}
	return out
}

// find returns the leaf, and whether there is exactly one.
func find(entries []kvm.CPUIDEntry, function, index uint32) (out kvm.CPUIDEntry, ok bool) {
	n := 0
	for _, e := range entries {
		if e.Function == function && e.Index == index {
			out = e
			n++
		}
	}
	return out, n == 1
}

func TestCPUIDHides(t *testing.T) {
	for name, vendor := range map[string]kvm.CPUIDEntry{"amd": amd, "intel": intel} {
		got := CPUID(host(vendor), 0, 2)
		for _, f := range hidden {
			if _, ok := find(got, f, 0); ok {
				t.Errorf("%s: leaf %#x is there", name, f)
			}
		}
		if _, ok := find(got, 0x40000002, 0); ok {
			t.Errorf("%s: a leaf of another hypervisor is there", name)
		}
		one, _ := find(got, leafFeatures, 0)
		if one.ECX&(ecxVMX|ecxMonitor|ecxPDCM) != 0 {
			t.Errorf("%s: leaf 1 ecx %#x", name, one.ECX)
		}
		seven, _ := find(got, leafFeatures7, 0)
		if seven.EBX&(ebxSGX|ebxPT) != 0 || seven.ECX&ecxSGXLC != 0 {
			t.Errorf("%s: leaf 7 ebx %#x ecx %#x", name, seven.EBX, seven.ECX)
		}
		if pv, _ := find(got, leafKVMFeatures, 0); pv.EAX != kvmFeatures || pv.EDX != 0 {
			t.Errorf("%s: paravirtual features %#x, hints %#x", name, pv.EAX, pv.EDX)
		}
		if ext, _ := find(got, leafExtended, 0); ext.EAX >= leafTopologyAMD2 {
			t.Errorf("%s: extended leaves up to %#x", name, ext.EAX)
		}
	}
	svm, _ := find(CPUID(host(amd), 0, 1), leafExtFeatures, 0)
	if svm.ECX&ecxSVM != 0 {
		t.Error("nested virtualization is offered")
	}
}

// What is always on does not depend on what KVM lists: it leaves the deadline
// timer out.
func TestCPUIDAdds(t *testing.T) {
	got := CPUID([]kvm.CPUIDEntry{amd, {Function: leafFeatures}}, 0, 1)
	one, _ := find(got, leafFeatures, 0)
	if want := uint32(ecxX2APIC | ecxTSCDeadline | ecxHypervisor); one.ECX != want {
		t.Errorf("leaf 1 ecx %#x, want %#x", one.ECX, want)
	}
}

func TestCPUIDTopology(t *testing.T) {
	for _, c := range []struct {
		cpu, count int
		shift, ids uint32 // bits, and number of identifiers they make
	}{
		{0, 1, 0, 1}, {1, 2, 1, 2}, {2, 3, 2, 4}, {3, 4, 2, 4}, {15, 16, 4, 16}, {16, 17, 5, 32}, {127, 128, 7, 128}, {253, 254, 8, 256},
	} {
		cpu, count := uint32(c.cpu), uint32(c.count)
		for name, vendor := range map[string]kvm.CPUIDEntry{"amd": amd, "intel": intel} {
			got := CPUID(host(vendor), c.cpu, c.count)
			bad := func(format string, args ...any) {
				t.Helper()
				t.Errorf("%s, processor %d of %d: "+format, append([]any{name, c.cpu, c.count}, args...)...)
			}
			one, _ := find(got, leafFeatures, 0)
			if one.EBX>>24 != cpu || one.EBX>>16&0xff != min(c.ids, 255) || one.EBX&0xffff != 0xffff {
				bad("leaf 1 ebx %#x", one.EBX)
			}
			if smp := one.EDX&edxHTT != 0; smp != (count > 1) {
				bad("leaf 1 says more than one processor: %v", smp)
			}
			leaves := []uint32{leafTopology}
			if name == "intel" {
				leaves = append(leaves, leafTopologyV2)
			}
			for _, leaf := range leaves {
				for index, want := range []kvm.CPUIDEntry{
					{EAX: 0, EBX: 1, ECX: 0x100, EDX: cpu},
					{EAX: c.shift, EBX: count, ECX: 0x201, EDX: cpu},
					{EAX: 0, EBX: 0, ECX: 2, EDX: cpu},
				} {
					want.Function, want.Index, want.Flags = leaf, uint32(index), kvm.CPUIDSignificantIndex
					if e, ok := find(got, leaf, uint32(index)); !ok || e != want {
						bad("leaf %#x: %+v, want %+v", leaf, e, want)
					}
				}
				if _, ok := find(got, leaf, 3); ok {
					bad("leaf %#x has a fourth level", leaf)
				}
			}
			for index, shared := range []uint32{0, 0, c.ids - 1} {
				e, _ := find(got, leafCacheIntel, uint32(index))
				if e.EAX>>14&0xfff != shared || e.EAX>>26 != min(c.ids-1, 63) {
					bad("cache %d: eax %#x", index, e.EAX)
				}
			}
			if e, _ := find(got, leafCacheIntel, 3); e.EAX != 0 {
				bad("end of caches: eax %#x", e.EAX)
			}
			for index, shared := range []uint32{0, 0, count - 1} {
				if e, _ := find(got, leafCacheAMD, uint32(index)); e.EAX>>14&0xfff != shared {
					bad("AMD cache %d: eax %#x", index, e.EAX)
				}
			}
			if e, _ := find(got, leafTopologyAMD, 0); e.EAX != cpu || e.EBX != cpu || e.ECX != 0 {
				bad("leaf 0x8000001e %+v", e)
			}
			sizes, _ := find(got, leafExtSizes, 0)
			if name == "amd" && (sizes.ECX&0xff != count-1 || sizes.ECX>>12&0xf != c.shift) {
				bad("leaf 0x80000008 ecx %#x", sizes.ECX)
			}
			if ext, _ := find(got, leafExtFeatures, 0); name == "amd" && (ext.ECX&ecxCmpLegacy != 0) != (count > 1) {
				bad("leaf 0x80000001 ecx %#x", ext.ECX)
			}
		}
	}
}

// A host without the topology leaf does not get one, and what KVM lists is left
// as it was.
func TestCPUIDOldHostAndNoAliasing(t *testing.T) {
	old := amd
	old.EAX = 7
	supported := host(old)
	before := append([]kvm.CPUIDEntry(nil), supported...)
	if _, ok := find(CPUID(supported, 1, 2), leafTopology, 0); ok {
		t.Error("a leaf past the largest")
	}
	for i := range before {
		if supported[i] != before[i] {
			t.Fatalf("CPUID changed leaf %#x of its argument", before[i].Function)
		}
	}
}

// QEMU's software CPU calls itself a K8; real processors keep PV EOI.
func TestPVEOIOnlyOnRealProcessors(t *testing.T) {
	for name, c := range map[string]struct {
		vendor    kvm.CPUIDEntry
		signature uint32
		want      bool
	}{
		"QEMU's":    {amd, 0x00060fb1, false},
		"EPYC":      {amd, 0x00a00f11, true},
		"Opteron":   {amd, 0x00100f42, true},
		"Intel P4":  {intel, 0x00000f41, true},
		"Intel SPR": {intel, 0x000806f8, true},
	} {
		entries := host(c.vendor)
		for i := range entries {
			if entries[i].Function == leafFeatures {
				entries[i].EAX = c.signature
			}
		}
		for _, e := range CPUID(entries, 0, 1) {
			if e.Function == leafKVMFeatures && (e.EAX>>kvmPVEOI&1 == 1) != c.want {
				t.Errorf("%s: KVM features %#x, want PV EOI %v", name, e.EAX, c.want)
			}
		}
	}
}
