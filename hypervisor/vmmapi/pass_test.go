package vmmapi

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func soundConfig() *Config {
	return &Config{
		Platform: Platform, Name: "web", ID: strings.Repeat("0a", 16), VCPUs: 2,
		KVM: 5, MemoryBytes: 256 << 20, Memory: 6, Kernel: 7, Initrd: 8, Cmdline: "console=hvc0",
		Console: Console{Ring: 9},
		Disks:   []Disk{{File: 10, Serial: "root", Name: "web-root"}},
		Nics:    []Nic{{Tap: 11, Vhost: 12, MAC: "52:54:00:00:00:01"}},
		Entropy: Entropy{Source: 13, BytesPerSecond: 1 << 20},
		Vsock:   &Vsock{Vhost: 14, CID: 3},
		Outcome: 15,
	}
}

func TestSealedConfig(t *testing.T) {
	want := soundConfig()
	f, err := SealedConfig(want)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("read %+v, want %+v", got, want)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the sealed configuration can be written")
	}
	if err := os.Truncate("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), 0); err == nil {
		t.Error("the sealed configuration can be cut")
	}
}

func TestReadConfigRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":          "",
		"unknown field":    `{"platform":"gozen-1","gpu":3}`,
		"something behind": `{"platform":"gozen-1"} {}`,
		"wrong type":       `{"vcpus":"two"}`,
		"too long":         `{"name":"` + strings.Repeat("x", MaxConfigBytes) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := ReadConfig(strings.NewReader(text)); err == nil {
				t.Fatalf("decoded %+v", c)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	if err := soundConfig().Check(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		want string // in the error
		set  func(c *Config)
	}{
		{"platform", "gozen-9", func(c *Config) { c.Platform = "gozen-9" }},
		{"id", "32 hexadecimal", func(c *Config) { c.ID = "xyz" }},
		{"no vcpus", "vCPUs", func(c *Config) { c.VCPUs = 0 }},
		{"many vcpus", "vCPUs", func(c *Config) { c.VCPUs = 255 }},
		{"little memory", "memory", func(c *Config) { c.MemoryBytes = 2 << 20 }},
		{"much memory", "memory", func(c *Config) { c.MemoryBytes = 1 << 62 }},
		{"odd memory", "multiple", func(c *Config) { c.MemoryBytes++ }},
		{"long command line", "command line", func(c *Config) { c.Cmdline = strings.Repeat("a", 2048) }},
		{"zero in command line", "zero byte", func(c *Config) { c.Cmdline = "a\x00b" }},
		{"long serial", "serial", func(c *Config) { c.Disks[0].Serial = strings.Repeat("s", 21) }},
		{"many disks", "disks", func(c *Config) { c.Disks = make([]Disk, 17) }},
		{"many nics", "network devices", func(c *Config) { c.Nics = make([]Nic, 9) }},
		{"multicast address", "Ethernet", func(c *Config) { c.Nics[0].MAC = "01:00:5e:00:00:01" }},
		{"host's context id", "context id", func(c *Config) { c.Vsock.CID = 2 }},
		{"descriptor too low", "kvm", func(c *Config) { c.KVM = 3 }},
		{"missing descriptor", "outcome", func(c *Config) { c.Outcome = 0 }},
		{"descriptor twice", "is kernel already", func(c *Config) { c.Disks[0].File = c.Kernel }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := soundConfig()
			tc.set(c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Check = %v, want an error with %q", err, tc.want)
			}
		})
	}
}
