package procfs

import (
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMemory(t *testing.T) {
	for _, c := range []struct {
		text, field string
		want        uint64
		ok          bool
	}{
		{"Name:\tvmm\nVmRSS:\t 9 kB\nRssAnon:\t    2048 kB\nRssFile:\t 1 kB\n", ResidentPrivate, 2048 << 10, true},
		{"Name:\tvmm\nVmRSS:\t 9 kB\nRssAnon:\t    2048 kB\n", Resident, 9 << 10, true},
		{"Name:\tVmRSS\n", Resident, 0, false},
		{"VmRSS\n", Resident, 0, false},
		{"RssAnon:\n", ResidentPrivate, 0, false},
		{"RssAnon:\t-1 kB\n", ResidentPrivate, 0, false},
		{"RssAnon:\t99999999999999999999 kB\n", ResidentPrivate, 0, false},
	} {
		if got, ok := parseMemory([]byte(c.text), c.field); ok != c.ok || ok && got != c.want {
			t.Errorf("%q %s: %d, %v; want %d, %v", c.text, c.field, got, ok, c.want, c.ok)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, process := range []string{"self", strconv.Itoa(os.Getpid())} {
		all, err := Memory(process, Resident)
		if err != nil {
			t.Fatal(err)
		}
		private, err := Memory(process, ResidentPrivate)
		if err != nil || private == 0 || private > all {
			t.Errorf("%s: %d bytes private of %d, %v", process, private, all, err)
		}
	}
	if _, err := Memory("0", Resident); err == nil {
		t.Error("a process that is not there has memory")
	}
	if _, err := Memory("self", "Colour"); err == nil {
		t.Error("a field that is not there has a value")
	}
}

func TestParseMounts(t *testing.T) {
	text := "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/vda /data xfs rw 0 0\nx /data/with\\040space\\134 tmpfs rw 0 0\nshort\n"
	want := []Mount{{"rootfs", "/", "rootfs"}, {"proc", "/proc", "proc"}, {"/dev/vda", "/data", "xfs"}, {"x", `/data/with space\`, "tmpfs"}}
	if diff := cmp.Diff(want, parseMounts(text)); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	for in, want := range map[string]string{`a\04`: `a\04`, `\101`: "A", `\9zz`: `\9zz`, `a\`: `a\`} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMounts(t *testing.T) {
	mounts, err := Mounts()
	if err != nil || !slices.ContainsFunc(mounts, func(m Mount) bool { return m.Point == "/proc" && m.Type == "proc" }) {
		t.Errorf("%v, %v: /proc is missing", mounts, err)
	}
}
