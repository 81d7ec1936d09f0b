package procfs

import (
	"os"
	"strconv"
	"testing"
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
