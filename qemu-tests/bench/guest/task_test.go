package main

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"gozen/qemu-tests/bench/measure"
)

func TestParseCommandLine(t *testing.T) {
	for line, c := range map[string]struct {
		want options
		err  string
	}{
		"":             {},
		"quiet panic":  {},
		"bench.tasks=": {},
		"console=ttyS0 bench.subject=qemu-q35 bench.tasks=cpu;idle:10;;disk:raw,/dev/vdb bench.addr=10.88.0.2/24 bench.poweroff\n": {
			want: options{"qemu-q35", netip.MustParsePrefix("10.88.0.2/24"), []string{"cpu", "idle:10", "disk:raw,/dev/vdb"}, true},
		},
		"bench.addr=10.88.0.2 bench.tasks=cpu": {want: options{tasks: []string{"cpu"}}, err: "no '/'"},
		"bench.addr=fe80::1/64":                {err: "not IPv4"},
		"bench.task=cpu bench.subject=x":       {want: options{subject: "x"}, err: `no option "bench.task=cpu"`},
	} {
		got, err := parseCommandLine(line)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: error %v, want %q", line, err, c.err)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, want %+v", line, got, c.want)
		}
	}
}

func TestParseTask(t *testing.T) {
	groups := map[string]bool{}
	for _, m := range measure.Catalogue {
		groups[m.Group] = true
	}
	for _, text := range []string{
		"cpu", "exits", "entropy", "serve", "idle:0", "idle:10", "touch:64", "disk:file,/dev/vda", "disk:raw,/dev/vdb",
		"diskcount:/dev/vda,4096", "net:host,10.88.0.1", "net:guest,10.88.0.3", "netcount:10.88.0.1,20000",
	} {
		got, err := parseTask(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got.text != text || got.run == nil || got.limit < time.Minute || !groups[got.group] {
			t.Errorf("%q: %+v", text, got)
		}
	}
	for _, text := range []string{
		"", "cpu:", "cpu:1", "CPU", "idle", "idle:", "idle:-1", "idle:9999", "idle:1,2", "touch:0", "touch:x", "disk:file", "disk:file,vda",
		"disk:tape,/dev/st0", "disk:file,/dev/vda:/dev/vdb", "diskcount:/dev/vda", "diskcount:/dev/vda,0", "diskcount:vda,5",
		"net:host", "net:moon,10.0.0.1", "net:host,moon", "netcount:10.0.0.1,0", "netcount:moon,5", "serve:1",
	} {
		got, err := parseTask(text)
		if err == nil {
			t.Errorf("%q is a task", text)
		}
		if got.text != text {
			t.Errorf("%q became %q", text, got.text)
		}
	}
}

func FuzzCommandLine(f *testing.F) {
	f.Add("bench.subject=gozen bench.tasks=cpu;idle:10;disk:raw,/dev/vda;netcount:10.88.0.1,20000 bench.addr=10.88.0.2/24")
	f.Add("bench.tasks=:;,;touch:99999999999999999999 bench.poweroff=1 bench.")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parseCommandLine(line)
		if o.address.IsValid() && !o.address.Addr().Is4() {
			t.Errorf("address %v, %v", o.address, err)
		}
		for _, text := range o.tasks {
			if strings.ContainsAny(text, " \n;") {
				t.Errorf("task %q would break the lines of the console", text)
			}
			if got, err := parseTask(text); (got.run == nil) != (err != nil) {
				t.Errorf("task %q: %+v, %v", text, got, err)
			}
		}
	})
}
