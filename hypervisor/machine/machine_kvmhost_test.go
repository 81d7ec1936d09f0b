//go:build kvmhost

package machine

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/vmmapi"
)

// kernel makes a vmlinux of the least size: one segment at 1 MiB that starts
// with code, 32-bit, and a note that names it as the PVH entry.
func kernel(code []byte) []byte {
	le := binary.LittleEndian
	const noteAt, codeAt, loadAt = 0x100, 0x200, 1 << 20
	b := make([]byte, codeAt)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)  // executable
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	segment := func(at int, kind uint32, off, paddr, size uint64) {
		p := b[at:]
		le.PutUint32(p[0:], kind)
		le.PutUint64(p[8:], off)
		le.PutUint64(p[24:], paddr)
		le.PutUint64(p[32:], size)
		le.PutUint64(p[40:], size)
		le.PutUint64(p[48:], 4)
	}
	segment(64, 1, codeAt, loadAt, uint64(len(code)))
	segment(64+56, 4, noteAt, 0, 20)
	for i, v := range []uint32{4, 4, 18} { // XEN_ELFNOTE_PHYS32_ENTRY
		le.PutUint32(b[noteAt+4*i:], v)
	}
	copy(b[noteAt+12:], "Xen\x00")
	le.PutUint32(b[noteAt+16:], loadAt)
	return append(b, code...)
}

// writePort is code that writes a byte to a port and halts.
func writePort(port uint16, v byte) []byte {
	return []byte{0x66, 0xba, byte(port), byte(port >> 8), 0xb0, v, 0xee, 0xf4, 0xeb, 0xfd}
}

type recorder struct {
	mu      sync.Mutex
	console bytes.Buffer
	events  []string
	running chan struct{}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.console.Write(p)
}

func (r *recorder) event(e vmmapi.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e.Kind)
	if e.Kind == vmmapi.EventRunning {
		close(r.running)
	}
}

// build makes a machine with that kernel file.
func build(t *testing.T, file []byte, change func(*vmmapi.Config)) (*Machine, *recorder, error) {
	t.Helper()
	open := func(path string, flag int) int {
		fd, err := unix.Open(path, flag|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return fd
	}
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	memory, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &vmmapi.Config{
		Platform: vmmapi.Platform, Name: "test", ID: strings.Repeat("0", 32), VCPUs: 2,
		KVM: open("/dev/kvm", unix.O_RDWR), MemoryBytes: 32 << 20, Memory: memory,
		Kernel: open(path, unix.O_RDONLY), Entropy: vmmapi.Entropy{Source: open("/dev/urandom", unix.O_RDONLY), BytesPerSecond: 1 << 20},
		Console: vmmapi.Console{Ring: 1000}, Outcome: 1001, EarlySerial: true,
	}
	if err := unix.Ftruncate(memory, int64(cfg.MemoryBytes)); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	r := &recorder{running: make(chan struct{})}
	m, err := New(cfg, Options{Console: r, Event: r.event})
	return m, r, err
}

func TestEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		code []byte
		want string
	}{
		{"power off", writePort(0x600, 1<<5|5<<2), vmmapi.CodePowerOff},
		{"reset", writePort(0x604, 1), vmmapi.CodeReset},
		{"panic", writePort(0x505, 1), vmmapi.CodePanic},
		{"triple fault", []byte{0x0f, 0x0b}, vmmapi.CodeTripleFault}, // ud2 without an IDT
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, r, err := build(t, kernel(tc.code), nil)
			if err != nil {
				t.Fatal(err)
			}
			if m.State() != "starting" {
				t.Errorf("state %q before Run", m.State())
			}
			o := m.Run()
			if o.Code != tc.want {
				t.Errorf("ended with %s (%s), want %s", o.Code, o.Message, tc.want)
			}
			if len(r.events) == 0 || r.events[0] != vmmapi.EventRunning {
				t.Errorf("events %v", r.events)
			}
			if o.Stats == nil || o.Stats.KVM["exits"] == 0 || len(o.Stats.Devices) != 2 {
				t.Errorf("counters %+v", o.Stats)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStop(t *testing.T) {
	m, r, err := build(t, kernel([]byte{0xeb, 0xfe}), nil) // spins
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-r.running
		m.Stop()
	}()
	if o := m.Run(); o.Code != vmmapi.CodeKilled {
		t.Errorf("ended with %s (%s)", o.Code, o.Message)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestEarlySerial(t *testing.T) {
	code := append(writePort(0x3f8, 'G')[:7], writePort(0x600, 1<<5|5<<2)...)
	m, r, err := build(t, kernel(code), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := m.Run(); o.Code != vmmapi.CodePowerOff || r.console.String() != "G" {
		t.Errorf("ended with %s, console %q", o.Code, r.console.String())
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// A machine that cannot be built leaves nothing behind and says why.
func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		file   []byte
		change func(*vmmapi.Config)
		want   string
	}{
		{"no kernel", []byte("#!/bin/sh\n"), nil, "neither a bzImage"},
		{"not KVM", kernel(nil), func(c *vmmapi.Config) { c.KVM = c.Entropy.Source; c.Entropy.Source = 2000 }, "should be /dev/kvm"},
		{"memory of another size", kernel([]byte{0xf4}), func(c *vmmapi.Config) { c.MemoryBytes *= 2 }, "the guest"},
		{"no processor", kernel([]byte{0xf4}), func(c *vmmapi.Config) { c.VCPUs = 0 }, "vCPUs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, _, err := build(t, tc.file, tc.change)
			if err == nil {
				_ = m.Close()
				t.Fatal("built")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
