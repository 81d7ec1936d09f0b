package vsock

import (
	"testing"
)

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"host's CID":     {CID: 2},
		"zero":           {CID: 0},
		"wildcard":       {CID: ^uint32(0)},
		"no vhost-vsock": {CID: 3},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConfigSpace(t *testing.T) {
	d := &Device{cid: 0x01020304}
	for _, c := range []struct {
		off  uint32
		want [4]byte
	}{{0, [4]byte{4, 3, 2, 1}}, {2, [4]byte{2, 1}}, {6, [4]byte{}}, {8, [4]byte{}}, {0xffffffff, [4]byte{}}} {
		b := [4]byte{9, 9, 9, 9}
		if d.ReadConfig(c.off, b[:]); b != c.want {
			t.Errorf("read at %d: % x, want % x", c.off, b, c.want)
		}
	}
}

func TestState(t *testing.T) {
	d := &Device{name: "virtio-vsock0"}
	raw, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "[]", `{"version":2}`} {
		if d.Restore([]byte(bad)) == nil {
			t.Errorf("restored from %q", bad)
		}
	}
	if d.restored {
		t.Error("a refused state counts as restored")
	}
	if err := d.Restore(raw); err != nil || !d.restored {
		t.Errorf("Restore: %v, %v", err, d.restored)
	}
}
