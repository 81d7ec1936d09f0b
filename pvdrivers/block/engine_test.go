package block

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/directio"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// ringRequired is set by a file tagged kvmhost.
var ringRequired bool

// onEngines runs a test once with an io_uring and once with workers. A kernel
// that gives no io_uring, as in many containers, leaves the first out of what
// `go test` does; in the emulated host, where ringRequired is set, it fails.
func onEngines(t *testing.T, test func(t *testing.T, engine Config)) {
	t.Run("ring", func(t *testing.T) {
		if d := newDevice(t, Config{FD: openFD(t, newFile(t, 8), unix.O_RDWR)}); len(d.engines) > 0 {
			test(t, Config{})
		} else if ringRequired {
			t.Fatal("the kernel gives no io_uring")
		}
	})
	t.Run("workers", func(t *testing.T) { test(t, Config{NoRing: true}) })
}

// restart lets the test change the device between two sessions.
func (r *rig) restart(change func()) {
	r.Helper()
	r.dev.Reset()
	change()
	r.q.Restart()
	r.tr = r.guest.NewTransport(r.dev.Features(), r.q)
	if err := r.dev.Activate(r.tr.Activation); err != nil {
		r.Fatal(err)
	}
}

// A driver's memory may lie anywhere, also when the host's I/O is direct and wants
// it aligned. The alignment is set here, so that this is so on any file system.
func TestUnalignedMemory(t *testing.T) { onEngines(t, testUnalignedMemory) }

func testUnalignedMemory(t *testing.T, engine Config) {
	r := newRig(t, engine, 0)
	r.restart(func() {
		if err := r.dev.disk.setAlignment(512); err != nil {
			t.Fatal(err)
		}
	})
	// Twice and a half of a buffer, cut at odd places.
	const n = 5 * bounceBytes / 2
	data := pattern(n, 5)
	base := r.guest.Alloc(n+4096)&^511 + 512
	cut := func(addr uint64, writable bool, lengths ...uint32) []vqtest.Buffer {
		var out []vqtest.Buffer
		for _, l := range lengths {
			out = append(out, vqtest.Buffer{Addr: addr, Len: l, Writable: writable})
			addr += uint64(l)
		}
		return out
	}
	for _, c := range []struct {
		name    string
		addr    uint64
		lengths []uint32
	}{
		{"aligned", base, []uint32{4096, n - 4096}},
		{"address", base + 16, []uint32{n}},
		{"lengths", base, []uint32{100, 1000, n - 1100}},
		{"all", base + 1, []uint32{1, bounceBytes - 1, bounceBytes + 7, n - 2*bounceBytes - 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			copy(r.guest.Bytes(c.addr, n), data)
			if s := r.do(typeOut, 8, cut(c.addr, false, c.lengths...)...); s != statusOK {
				t.Fatalf("write: status %d", s)
			}
			if !bytes.Equal(r.file()[8*sectorBytes:][:n], data) {
				t.Error("the file holds something else")
			}
			clear(r.guest.Bytes(c.addr, n))
			if s := r.do(typeIn, 8, cut(c.addr, true, c.lengths...)...); s != statusOK {
				t.Fatalf("read: status %d", s)
			}
			if !bytes.Equal(r.guest.Bytes(c.addr, n), data) {
				t.Error("read something else")
			}
			// Past what the file has become.
			if err := os.Truncate(r.path, 8*sectorBytes+bounceBytes); err != nil {
				t.Fatal(err)
			}
			if s := r.do(typeIn, 8, cut(c.addr, true, c.lengths...)...); s != statusIOErr {
				t.Errorf("read of a file that got shorter: status %d", s)
			}
			if err := os.Truncate(r.path, testSectors*sectorBytes); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Real direct I/O, where the temporary directory's file system has it.
func TestDirect(t *testing.T) { onEngines(t, testDirect) }

func testDirect(t *testing.T, engine Config) {
	path := newFile(t, testSectors)
	t.Logf("direct: %v", writeAndReadDirect(t, path, engine))
}

// writeAndReadDirect uses the file at path with direct I/O, if it has that, which
// is what it returns, from memory that is aligned and from some that is not.
func writeAndReadDirect(t *testing.T, path string, engine Config) bool {
	t.Helper()
	engine.FD = openFD(t, path, unix.O_RDWR)
	direct, err := directio.Enable(engine.FD)
	if err != nil {
		t.Fatal(err)
	}
	r := newRigFD(t, path, engine, 0)
	base := r.guest.Alloc(3*4096)&^4095 + 4096
	for _, addr := range []uint64{base, base + 1} {
		data := pattern(4096, byte(addr))
		copy(r.guest.Bytes(addr, len(data)), data)
		if s := r.do(typeOut, 3, vqtest.Buffer{Addr: addr, Len: 4096}); s != statusOK {
			t.Fatalf("write: status %d", s)
		}
		if s := r.do(typeFlush, 0); s != statusOK {
			t.Fatalf("flush: status %d", s)
		}
		clear(r.guest.Bytes(addr, len(data)))
		if s := r.do(typeIn, 3, vqtest.Buffer{Addr: addr, Len: 4096, Writable: true}); s != statusOK {
			t.Fatalf("read: status %d", s)
		}
		if !bytes.Equal(r.guest.Bytes(addr, 4096), data) || !bytes.Equal(r.file()[3*sectorBytes:][:4096], data) {
			t.Error("read something else")
		}
	}
	return direct
}

// Slow requests and others mixed, more than an engine has room for, and a reset
// in the middle: all that was taken is answered.
func TestResetWithRequestsUnderWay(t *testing.T) { onEngines(t, testResetWithRequestsUnderWay) }

func testResetWithRequestsUnderWay(t *testing.T, engine Config) {
	r := newRig(t, engine, virtio.FeatureIndirectDesc)
	header, data := make([]uint64, 80), r.guest.Alloc(4096)
	for i := range header {
		header[i] = r.guest.Alloc(headerBytes)
	}
	span := r.guest.Put(append(make([]byte, 8), 8, 0, 0, 0, 0, 0, 0, 0))
	for range 20 {
		for i, h := range header {
			var bufs []vqtest.Buffer
			switch typ := []uint32{typeIn, typeOut, typeFlush, typeDiscard, typeGetID}[i%5]; typ {
			case typeIn, typeGetID:
				bufs = r.chain(h, r.status, typ, 8, vqtest.Buffer{Addr: data, Len: 512, Writable: true})
			case typeOut:
				bufs = r.chain(h, r.status, typ, 16, vqtest.Buffer{Addr: data, Len: 512})
			case typeFlush:
				bufs = r.chain(h, r.status, typ, 0)
			case typeDiscard:
				bufs = r.chain(h, r.status, typ, 0, vqtest.Buffer{Addr: span, Len: segmentBytes})
			}
			r.q.Add(bufs...)
		}
		r.q.Kick()
		r.q.WaitUsed()
		r.dev.Reset()
		avail, used := r.dev.Position(0)
		if avail != used {
			t.Fatalf("%d requests were taken and %d answered", avail, used)
		}
		if err := r.tr.Err(); err != nil {
			t.Fatalf("device in error: %v", err)
		}
		r.restart(func() {})
	}
}
