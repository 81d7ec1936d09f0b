package guests

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/dom0/fault"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

func TestDefaults(t *testing.T) {
	asked := &gozenv1.GuestSpec{
		Name: "web", Kernel: "vmlinuz",
		Disks: []*gozenv1.Disk{{Volume: "a-volume-with-a-long-name"}},
		Nics:  []*gozenv1.Nic{{}, {Mac: "02-00-5E-10-00-01"}},
	}
	s, err := complete(asked, 4, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if asked.Vcpus != 0 || asked.Nics[0].Mac != "" {
		t.Error("what was asked for is changed")
	}
	random := s.Nics[0].Mac
	if b := random[1]; !strings.ContainsRune("26ae", rune(b)) {
		t.Errorf("random address %s is not a local individual one", random)
	}
	s.Nics[0].Mac = ""
	want := &gozenv1.GuestSpec{
		Name: "web", Kernel: "vmlinuz", Vcpus: 1, MemoryBytes: 256 << 20, Cmdline: "console=hvc0",
		Disks:       []*gozenv1.Disk{{Volume: "a-volume-with-a-long-name", Serial: "a-volume-with-a-long"}},
		Nics:        []*gozenv1.Nic{{Network: "default"}, {Network: "default", Mac: "02:00:5e:10:00:01"}},
		Entropy:     &gozenv1.Entropy{BytesPerSecond: 1 << 20},
		Restart:     gozenv1.RestartPolicy_RESTART_POLICY_NEVER,
		StopTimeout: durationpb.New(time.Minute),
	}
	if !proto.Equal(s, want) {
		t.Errorf("got  %v\nwant %v", s, want)
	}
	// What is complete stays as it is.
	s.Nics[0].Mac = random
	again, err := complete(s, 4, 1<<30)
	if err != nil || !proto.Equal(again, s) {
		t.Errorf("%v, %v", again, err)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*gozenv1.GuestSpec)
		kind   fault.Kind
		text   string
	}{
		{"no name", func(s *gozenv1.GuestSpec) { s.Name = "" }, fault.Invalid, "name is missing"},
		{"name", func(s *gozenv1.GuestSpec) { s.Name = "Web" }, fault.Invalid, "a-z and 0-9"},
		{"no kernel", func(s *gozenv1.GuestSpec) { s.Kernel = "" }, fault.Invalid, "kernel is missing"},
		{"kernel's name", func(s *gozenv1.GuestSpec) { s.Kernel = "../vmlinuz" }, fault.Invalid, "image name"},
		{"initrd's name", func(s *gozenv1.GuestSpec) { s.Initrd = "a b" }, fault.Invalid, "image name"},
		{"vCPUs", func(s *gozenv1.GuestSpec) { s.Vcpus = 5 }, fault.Exhausted, "5 vCPUs: the host has 4 CPUs"},
		{"many vCPUs", func(s *gozenv1.GuestSpec) { s.Vcpus = 1 << 31 }, fault.Invalid, "at most 254"},
		{"CPU limit", func(s *gozenv1.GuestSpec) { s.CpuLimitMillis = 1001 }, fault.Invalid, "between 10 and 1000"},
		{"small CPU limit", func(s *gozenv1.GuestSpec) { s.CpuLimitMillis = 9 }, fault.Invalid, "between 10 and 1000"},
		{"memory", func(s *gozenv1.GuestSpec) { s.MemoryBytes = 2 << 30 }, fault.Exhausted, "memory 2GiB: the host has 1GiB in all"},
		{"odd memory", func(s *gozenv1.GuestSpec) { s.MemoryBytes = 256<<20 + 1 }, fault.Invalid, "not a multiple"},
		{"little memory", func(s *gozenv1.GuestSpec) { s.MemoryBytes = 1 << 20 }, fault.Invalid, "at least 16MiB"},
		{"absurd memory", func(s *gozenv1.GuestSpec) { s.MemoryBytes = 1 << 63 }, fault.Invalid, "the platform has room"},
		{"long command line", func(s *gozenv1.GuestSpec) { s.Cmdline = strings.Repeat("x", 2048) }, fault.Invalid, "at most"},
		{"command line", func(s *gozenv1.GuestSpec) { s.Cmdline = "a\nb" }, fault.Invalid, "control character"},
		{"volume", func(s *gozenv1.GuestSpec) { s.Disks = []*gozenv1.Disk{{Volume: "/dev/sda"}} }, fault.Invalid, "volume name"},
		{"serial", func(s *gozenv1.GuestSpec) { s.Disks = []*gozenv1.Disk{{Volume: "d", Serial: "a b"}} }, fault.Invalid, "visible ASCII"},
		{"long serial", func(s *gozenv1.GuestSpec) {
			s.Disks = []*gozenv1.Disk{{Volume: "d", Serial: strings.Repeat("x", 21)}}
		}, fault.Invalid, "up to 20"},
		{"disks", func(s *gozenv1.GuestSpec) { s.Disks = make([]*gozenv1.Disk, 25) }, fault.Invalid, "has room for 24"},
		{"network", func(s *gozenv1.GuestSpec) { s.Nics = []*gozenv1.Nic{{Network: "dmz"}} }, fault.NotFound, `"dmz"`},
		{"MAC", func(s *gozenv1.GuestSpec) { s.Nics = []*gozenv1.Nic{{Mac: "zz"}} }, fault.Invalid, "six bytes"},
		{"long MAC", func(s *gozenv1.GuestSpec) { s.Nics = []*gozenv1.Nic{{Mac: "02:00:00:00:00:00:00:01"}} }, fault.Invalid, "six bytes"},
		{"group MAC", func(s *gozenv1.GuestSpec) { s.Nics = []*gozenv1.Nic{{Mac: "01:00:5e:00:00:01"}} }, fault.Invalid, "individual"},
		{"zero MAC", func(s *gozenv1.GuestSpec) { s.Nics = []*gozenv1.Nic{{Mac: "00:00:00:00:00:00"}} }, fault.Invalid, "individual"},
		{"entropy", func(s *gozenv1.GuestSpec) { s.Entropy = &gozenv1.Entropy{BytesPerSecond: 1 << 40} }, fault.Invalid, "at most 1GiB"},
		{"policy", func(s *gozenv1.GuestSpec) { s.Restart = 77 }, fault.Invalid, "does not know"},
		{"timeout", func(s *gozenv1.GuestSpec) { s.StopTimeout = durationpb.New(-time.Second) }, fault.Invalid, "stop timeout"},
		{"absurd timeout", func(s *gozenv1.GuestSpec) { s.StopTimeout = &durationpb.Duration{Seconds: 1 << 60} }, fault.Invalid, "stop timeout"},
		{"label", func(s *gozenv1.GuestSpec) { s.Labels = map[string]string{"": "x"} }, fault.Invalid, "label"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &gozenv1.GuestSpec{Name: "web", Kernel: "vmlinuz"}
			c.change(s)
			_, err := complete(s, 4, 1<<30)
			wantKind(t, err, c.kind, c.text)
		})
	}
	_, err := complete(nil, 4, 1<<30)
	wantKind(t, err, fault.Invalid, "spec is missing")
}

func TestMACsAreTheirOwn(t *testing.T) {
	b := newBench(t)
	nics := func(macs ...string) (out []*gozenv1.Nic) {
		for _, m := range macs {
			out = append(out, &gozenv1.Nic{Mac: m})
		}
		return out
	}
	const mac = "02:00:00:00:00:01"
	_, err := b.m.Create(&gozenv1.GuestSpec{Name: "a", Kernel: "vmlinuz", Nics: nics(mac, mac)})
	wantKind(t, err, fault.Precondition, "of the same guest")
	b.create(&gozenv1.GuestSpec{Name: "b", Nics: nics(mac)})
	_, err = b.m.Create(&gozenv1.GuestSpec{Name: "c", Kernel: "vmlinuz", Nics: nics(mac)})
	wantKind(t, err, fault.Precondition, `of guest "b"`)
	_, err = b.m.Create(&gozenv1.GuestSpec{Name: "b", Kernel: "vmlinuz"})
	wantKind(t, err, fault.Exists, "taken")
	_, err = b.m.Create(&gozenv1.GuestSpec{Name: "d", Kernel: "none"})
	wantKind(t, err, fault.NotFound, `image "none"`)
}

// Whatever a client sends is refused with the client's fault, or becomes a spec
// that stays as it is, on disk too.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"name":"web","kernel":"k"}`))
	f.Add([]byte(`{"name":"web","kernel":"k","vcpus":2,"memoryBytes":"268435456","disks":[{"volume":"d","readOnly":true}],"nics":[{"mac":"02:00:00:00:00:01"}]}`))
	f.Add([]byte(`{"name":"web","kernel":"k","stopTimeout":"1.5s","labels":{"a":"b"},"restart":"RESTART_POLICY_ALWAYS","entropy":{}}`))
	f.Add([]byte(`{"name":"..","kernel":"/","cmdline":"\u0000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		asked := new(gozenv1.GuestSpec)
		if protojson.Unmarshal(b, asked) != nil {
			return
		}
		s, err := complete(asked, 4, 1<<32)
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Errorf("refused without a kind: %v", err)
			}
			return
		}
		again, err := complete(s, 4, 1<<32)
		if err != nil || !proto.Equal(again, s) {
			t.Errorf("%v became %v, %v", s, again, err)
		}
		text, err := specJSON{s}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var back specJSON
		if err := back.UnmarshalJSON(text); err != nil || !proto.Equal(back.GuestSpec, s) {
			t.Errorf("%s became %v, %v", text, back.GuestSpec, err)
		}
	})
}
