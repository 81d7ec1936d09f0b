package guestspec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func check[T proto.Message](t *testing.T, in string, got T, err error, want T, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%q: error %v; want one with %q", in, err, wantErr)
		}
		return
	}
	if err != nil {
		t.Errorf("%q: %v", in, err)
	} else if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("%q: (-want +got)\n%s", in, diff)
	}
}

func TestParseDisk(t *testing.T) {
	for _, c := range []struct {
		in   string
		want *gozenv1.Disk
		err  string
	}{
		{in: "root", want: &gozenv1.Disk{Volume: "root"}},
		{in: "root,ro", want: &gozenv1.Disk{Volume: "root", ReadOnly: true}},
		{in: "root,rw,serial=A1", want: &gozenv1.Disk{Volume: "root", Serial: "A1"}},
		{in: "root,serial=a=b,ro", want: &gozenv1.Disk{Volume: "root", Serial: "a=b", ReadOnly: true}},
		{in: "", err: "no volume named"},
		{in: ",ro", err: "no volume named"},
		{in: "volume=root", err: "comes first, without a key"},
		{in: "root,ro=yes", err: `unknown option "ro=yes"`},
		{in: "root,", err: `unknown option ""`},
		{in: "root,ro,ro", err: `"ro" is there twice`},
		{in: "root,serial", err: `unknown option "serial"`},
		{in: "root,serial=", err: "1 to 20 characters, not 0"},
		{in: "root,serial=123456789012345678901", err: "1 to 20 characters, not 21"},
		{in: "root,serial=a b", err: "printable ASCII"},
	} {
		got, err := ParseDisk(c.in)
		check(t, c.in, got, err, c.want, c.err)
	}
}

func TestParseNic(t *testing.T) {
	for _, c := range []struct {
		in   string
		want *gozenv1.Nic
		err  string
	}{
		{in: "default", want: &gozenv1.Nic{Network: "default"}},
		{in: "default,userspace", want: &gozenv1.Nic{Network: "default", Userspace: true}},
		{in: "lan,mac=52-54-00-AA-BB-CC", want: &gozenv1.Nic{Network: "lan", Mac: "52:54:00:aa:bb:cc"}},
		{in: "", err: "no network named"},
		{in: "mac=52:54:00:aa:bb:cc", err: "comes first"},
		{in: "default,mac=nope", err: "no MAC address"},
		{in: "default,mac=02:00:5e:10:00:00:00:01", err: "no MAC address"},
		{in: "default,mac=53:54:00:aa:bb:cc", err: "multicast"},
		{in: "default,vhost", err: `unknown option "vhost"`},
	} {
		got, err := ParseNic(c.in)
		check(t, c.in, got, err, c.want, c.err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range RestartPolicies() {
		if p, err := ParseRestart(name); err != nil || RestartName(p) != name {
			t.Errorf("restart policy %q: %v, %v", name, p, err)
		}
	}
	if _, err := ParseRestart("sometimes"); err == nil || !strings.Contains(err.Error(), "never, on-crash, always") {
		t.Errorf("ParseRestart(sometimes): %v", err)
	}
	if RestartName(gozenv1.RestartPolicy_RESTART_POLICY_UNSPECIFIED) != "never" {
		t.Error("an unspecified policy is never")
	}
	for _, name := range States() {
		if s, err := ParseState(name); err != nil || s == 0 || StateName(s) != name {
			t.Errorf("state %q: %v, %v", name, s, err)
		}
	}
	if _, err := ParseState("unspecified"); err == nil {
		t.Error("unspecified is no state to wait for")
	}
	if StateName(99) != "unknown" || StateName(0) != "unknown" {
		t.Error("states this program does not know are unknown")
	}
	for in, want := range map[string][2]string{"a=b": {"a", "b"}, "a=": {"a", ""}, "a=b=c": {"a", "b=c"}} {
		if k, v, err := ParseLabel(in); err != nil || k != want[0] || v != want[1] {
			t.Errorf("ParseLabel(%q) = %q, %q, %v", in, k, v, err)
		}
	}
	for _, in := range []string{"", "a", "=b"} {
		if _, _, err := ParseLabel(in); err == nil {
			t.Errorf("ParseLabel(%q): no error", in)
		}
	}
}

func TestDecode(t *testing.T) {
	spec, err := Decode([]byte(`{"name":"web","memoryBytes":"536870912","disks":[{"volume":"root"}],"restart":"RESTART_POLICY_ALWAYS"}`))
	check(t, "spec", spec, err, &gozenv1.GuestSpec{
		Name: "web", MemoryBytes: 512 << 20,
		Disks:   []*gozenv1.Disk{{Volume: "root"}},
		Restart: gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS,
	}, "")
	_, err = Decode([]byte(`{"memroy":"1"}`))
	check(t, "unknown field", nil, err, (*gozenv1.GuestSpec)(nil), `unknown field "memroy"`)
	_, err = Decode([]byte(`{`))
	if err == nil || strings.HasPrefix(err.Error(), "proto:") {
		t.Errorf("half an object: %v", err)
	}
}

func FuzzParseDisk(f *testing.F) {
	for _, s := range []string{"root", "root,ro", "root,serial=x", ",", "a,b=c", "root,serial=\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		disk, err := ParseDisk(s)
		if err != nil {
			return
		}
		if disk.Volume == "" || len(disk.Serial) > maxSerial || strings.Contains(disk.Volume, ",") {
			t.Fatalf("%q was read as %v", s, disk)
		}
	})
}

func FuzzParseNic(f *testing.F) {
	for _, s := range []string{"default", "default,mac=52:54:00:12:34:56", "x,userspace", ",mac="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		nic, err := ParseNic(s)
		if err != nil {
			return
		}
		if nic.Network == "" || (nic.Mac != "" && len(nic.Mac) != len("52:54:00:12:34:56")) {
			t.Fatalf("%q was read as %v", s, nic)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"web","vcpus":2,"stopTimeout":"5s","labels":{"a":"b"}}`))
	f.Add([]byte(`{"disks":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if spec, err := Decode(data); (spec == nil) == (err == nil) {
			t.Fatalf("Decode: %v and %v", spec, err)
		}
	})
}
