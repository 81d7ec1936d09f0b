package work

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCPUID(t *testing.T) {
	largest, _, _, _ := cpuid(0, 0)
	if largest == 0 {
		t.Error("CPUID has no leaf but the first")
	}
	// Leaf 7 of an amd64 processor says by its subleaf 0 how many there are.
	if _, _, _, edx := cpuid(1, 0); edx&(1<<26) == 0 {
		t.Error("a processor without SSE2 is no amd64")
	}
}

// Whether a hypervisor answers or the instruction is refused, the caller lives.
func TestHypercallIsTriedInAChild(t *testing.T) {
	for _, intel := range []bool{false, true} {
		err := tryHypercall(intel)
		if err != nil && !strings.Contains(err.Error(), "illegal instruction") {
			t.Errorf("intel %v: %v", intel, err)
		}
	}
}

func TestForkedChildDiesOfItsSignal(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer closeAll(p[:])
	pid := forkEcho(p[0], p[1], new(byte))
	if pid < 0 {
		t.Fatal(unix.Errno(-pid))
	}
	if err := unix.Kill(pid, unix.SIGILL); err != nil {
		t.Fatal(err)
	}
	if _, err := wait(pid); err != nil {
		t.Error(err)
	}
	if _, err := wait(pid); !errors.Is(err, unix.ECHILD) {
		t.Errorf("second wait: %v", err)
	}
}

// configSpace is a configuration space with that list of capabilities, each at the
// offset where the one before points.
func configSpace(first byte, caps map[byte][]byte) []byte {
	b := make([]byte, 256)
	binary.LittleEndian.PutUint16(b, virtioVend)
	b[0x34] = first
	for at, c := range caps {
		copy(b[at:], c)
	}
	return b
}

func TestCapabilities(t *testing.T) {
	common := []byte{9, 0x50, 16, 1, 4, 0, 0, 0, 0, 0x10, 0, 0, 0x38, 0, 0, 0}
	notify := []byte{9, 0, 20, 2, 4, 0, 0, 0, 0, 0x30, 0, 0, 0, 0x10, 0, 0, 4, 0, 0, 0}
	for name, c := range map[string]struct {
		config         []byte
		common, notify *capability
		err            string
	}{
		"both": {
			config: configSpace(0x40, map[byte][]byte{0x40: common, 0x50: notify}),
			common: &capability{bar: 4, offset: 0x1000},
			notify: &capability{bar: 4, offset: 0x3000, multiplier: 4},
		},
		"none":         {config: configSpace(0, nil)},
		"loop":         {config: configSpace(0x40, map[byte][]byte{0x40: {5, 0x40}}), err: "does not end"},
		"beyond":       {config: configSpace(0xf4, nil), err: "beyond"},
		"half notify":  {config: configSpace(0xf0, map[byte][]byte{0xf0: notify[:16]}), err: "beyond"},
		"no such BAR":  {config: configSpace(0x40, map[byte][]byte{0x40: {9, 0, 16, 1, 6}}), err: "BAR 6"},
		"not root":     {config: configSpace(0x40, nil)[:64], err: "root"},
		"cut":          {config: make([]byte, 20), err: "20 bytes"},
		"other vendor": {config: configSpace(0x40, map[byte][]byte{0x40: {0x11, 0}})},
	} {
		gotCommon, gotNotify, err := capabilities(c.config)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
		if !reflect.DeepEqual(gotCommon, c.common) || !reflect.DeepEqual(gotNotify, c.notify) {
			t.Errorf("%s: %+v, %+v", name, gotCommon, gotNotify)
		}
	}
}

func FuzzCapabilities(f *testing.F) {
	f.Add(configSpace(0x40, map[byte][]byte{0x40: {9, 0x50, 16, 1, 4}, 0x50: {9, 0xf0, 20, 2}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, config []byte) {
		common, notify, err := capabilities(config)
		for _, c := range []*capability{common, notify} {
			if c != nil && (err != nil || c.bar > 5) {
				t.Errorf("%+v with error %v", c, err)
			}
		}
	})
}

func TestMMIOAddresses(t *testing.T) {
	const iomem = `00001000-0009fbff : System RAM
feb00000-feb001ff : LNRO0005:00
  feb00000-feb001ff : LNRO0005:00 LNRO0005:00
feb02e00-feb02fff : virtio-mmio.0
00000000-00000000 : virtio-mmio.1
fec00000-fec003ff : IOAPIC 0
xyz-1 : virtio-mmio.2
`
	if got, want := mmioAddresses(iomem), []uint64{0xfeb00000, 0xfeb02e00}; !reflect.DeepEqual(got, want) {
		t.Errorf("%#x, want %#x", got, want)
	}
}
