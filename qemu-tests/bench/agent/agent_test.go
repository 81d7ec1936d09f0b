package main

import (
	"bufio"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gozen/qemu-tests/bench/protocol"
)

func TestParseHistogram(t *testing.T) {
	const text = `# event histogram
#
# trigger info: hist:keys=exit_reason:vals=hitcount:sort=hitcount:size=4096 [active]
#

{ exit_reason:        114 } hitcount:        453
{ exit_reason:       1024 } hitcount:         60
not a line

Totals:
    Hits: 513
    Entries: 2
`
	got := parseHistogram(text)
	if len(got) != 2 || got[114] != 453 || got[1024] != 60 {
		t.Errorf("got %v, want 114:453 and 1024:60", got)
	}
}

func TestParseSmaps(t *testing.T) {
	const text = `55d0c0000000-55d0c0200000 r-xp 00000000 00:02 42                         /bin/vmm
Size:               2048 kB
Rss:                1500 kB
Private_Clean:      1500 kB
Private_Dirty:         0 kB
c000000000-c000400000 rw-p 00000000 00:00 0 
Size:               4096 kB
Rss:                 700 kB
Private_Clean:         0 kB
Private_Dirty:       700 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0010000000 rw-s 00000000 00:01 7                          /memfd:guest-memory (deleted)
Size:             262144 kB
Rss:              100000 kB
Private_Dirty:    100000 kB
7f0020000000-7f0020001000 rw-s 00000000 00:01 8                          /memfd:other (deleted)
Size:                  4 kB
Rss:                   4 kB
Private_Dirty:         4 kB
`
	got, err := parseSmaps(bufio.NewScanner(strings.NewReader(text)), 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	if want := (memory{Private: 704, Text: 1500}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := parseSmaps(bufio.NewScanner(strings.NewReader("zz-yy r-xp 0 0 0 /x\n")), 1); err == nil {
		t.Error("a broken line was accepted")
	}
}

func TestReasonNames(t *testing.T) {
	for _, c := range []struct {
		amd    bool
		reason uint64
		want   string
	}{
		{true, 0x72, "CPUID"}, {true, 0x10, "control register"}, {true, 0x400, "memory"}, {true, 0x9999, "other (0x9999)"},
		{false, 10, "CPUID"}, {false, 48, "memory"}, {false, 999, "other (999)"},
	} {
		if got := reasonName(c.amd, c.reason); got != c.want {
			t.Errorf("reasonName(%v, %#x) = %q, want %q", c.amd, c.reason, got, c.want)
		}
	}
}

// Every kind has a command line that names the guest's parts; what a VMM cannot
// have is refused.
func TestArguments(t *testing.T) {
	m := machine{kernel: "/k", elf: "/elf", initrd: "/i", words: []string{"quiet", "bench.subject=x"}, vcpus: 1, memoryMiB: 256,
		disks: []string{"/dev/vda"}, tap: "tap9", mac: "52:54:00:88:00:02"}
	t.Chdir(t.TempDir())
	for _, kind := range []protocol.Kind{protocol.QEMUMicroVM, protocol.QEMUQ35, protocol.GoKVM, protocol.KVMTool, protocol.CloudHypervisor, protocol.Crosvm} {
		args, err := arguments(kind, m)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		all := strings.Join(args, " ")
		for _, want := range []string{"/i", "quiet bench.subject=x", "/dev/vda", "tap9"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: %q is missing in %s", kind, want, all)
			}
		}
		if slices.Contains(args, "") {
			t.Errorf("%s: an empty argument in %q", kind, args)
		}
	}
	m.disks = append(m.disks, "/dev/vdb")
	if _, err := arguments(protocol.GoKVM, m); err == nil {
		t.Error("gokvm was given two disks")
	}
	if _, err := arguments("bochs", m); err == nil {
		t.Error("an unknown VMM was accepted")
	}
}

func TestGuestClock(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		guest time.Duration
		host  time.Duration
		wrong bool
	}{
		{"right", 10 * time.Second, 10 * time.Second, false},
		{"a little late", 9500 * time.Millisecond, 10 * time.Second, false},
		{"slow", 5 * time.Second, 10 * time.Second, true},
		{"fast", 12 * time.Second, 10 * time.Second, true},
		{"too short to tell", 1 * time.Millisecond, 900 * time.Millisecond, false},
	} {
		var g guestClock
		g.tick("5000", at)
		g.tick(strconv.FormatInt(5000+c.guest.Nanoseconds(), 10), at.Add(c.host))
		if got := g.wrong(); (got != "") != c.wrong {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if got := (&guestClock{}).wrong(); got != "" {
		t.Errorf("without a clock: %q", got)
	}
}
