package cgroup

import (
	"maps"
	"strings"
	"testing"
)

func TestCounters(t *testing.T) {
	got := counters([]byte("populated 1\nfrozen 0\nodd\nusage_usec 12345\nnegative -1\n"))
	want := map[string]uint64{"populated": 1, "frozen": 0, "usage_usec": 12345}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestOpenElsewhere(t *testing.T) {
	_, err := Open(t.TempDir(), "x")
	if err == nil || !strings.Contains(err.Error(), "not mounted as cgroup2") {
		t.Errorf("error %v", err)
	}
}
