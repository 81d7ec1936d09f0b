package block

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

const testSectors = 2048 // 1 MiB

// rig is a disk in a temporary file with a driver on it.
type rig struct {
	*testing.T
	path   string
	dev    *Device
	guest  *vqtest.Guest
	q      *vqtest.Queue
	tr     *vqtest.Transport
	header uint64
	status uint64
}

func newFile(t testing.TB, sectors int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, sectors*sectorBytes); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFD(t testing.TB, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func newDevice(t testing.TB, c Config) *Device {
	t.Helper()
	c.Name = "virtio-blk0"
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Reset()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func newRig(t *testing.T, c Config, without uint64) *rig {
	t.Helper()
	return newRigOn(t, newFile(t, testSectors), c, without)
}

func newRigOn(t *testing.T, path string, c Config, without uint64) *rig {
	t.Helper()
	r := &rig{T: t, path: path}
	flags := unix.O_RDWR
	if c.ReadOnly {
		flags = unix.O_RDONLY
	}
	c.FD = openFD(t, r.path, flags)
	r.dev = newDevice(t, c)
	r.guest = vqtest.NewGuest(t, 8<<20)
	t.Cleanup(func() { r.dev.Reset() }) // before guest memory is unmapped
	features := r.dev.Features() &^ without
	r.q = r.guest.NewQueue(queueSize, features)
	r.header, r.status = r.guest.Alloc(headerBytes), r.guest.Alloc(1)
	r.tr = r.guest.NewTransport(features, r.q)
	if err := r.dev.Activate(r.tr.Activation); err != nil {
		t.Fatal(err)
	}
	return r
}

// chain is the buffers of a request with header and status at the given places.
func (r *rig) chain(header, status uint64, typ uint32, sector uint64, data ...vqtest.Buffer) []vqtest.Buffer {
	h := r.guest.Bytes(header, headerBytes)
	binary.LittleEndian.PutUint32(h, typ)
	binary.LittleEndian.PutUint64(h[8:], sector)
	r.guest.Bytes(status, 1)[0] = 0xff
	bufs := append([]vqtest.Buffer{{Addr: header, Len: headerBytes}}, data...)
	return append(bufs, vqtest.Buffer{Addr: status, Len: 1, Writable: true})
}

// do runs one request and returns its status.
func (r *rig) do(typ uint32, sector uint64, data ...vqtest.Buffer) byte {
	r.Helper()
	want := uint32(1)
	for _, b := range data {
		if b.Writable {
			want += b.Len
		}
	}
	if u := r.q.Do(r.chain(r.header, r.status, typ, sector, data...)...); u.Len != want {
		r.Errorf("used length %d, want %d", u.Len, want)
	}
	return r.guest.Bytes(r.status, 1)[0]
}

func (r *rig) write(sector uint64, data []byte) byte {
	r.Helper()
	return r.do(typeOut, sector, vqtest.Buffer{Addr: r.guest.Put(data), Len: uint32(len(data))})
}

func (r *rig) read(sector uint64, n int) ([]byte, byte) {
	r.Helper()
	addr := r.guest.Alloc(n)
	status := r.do(typeIn, sector, vqtest.Buffer{Addr: addr, Len: uint32(n), Writable: true})
	return r.guest.Bytes(addr, n), status
}

func (r *rig) ranges(typ uint32, flags uint32, spans ...[2]uint64) byte {
	r.Helper()
	var b []byte
	for _, s := range spans {
		b = binary.LittleEndian.AppendUint64(b, s[0])
		b = binary.LittleEndian.AppendUint32(b, uint32(s[1]))
		b = binary.LittleEndian.AppendUint32(b, flags)
	}
	return r.do(typ, 0, vqtest.Buffer{Addr: r.guest.Put(b), Len: uint32(len(b))})
}

func (r *rig) file() []byte {
	r.Helper()
	b, err := os.ReadFile(r.path)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8) + seed
	}
	return b
}

func TestWriteThenRead(t *testing.T) {
	r := newRig(t, Config{}, 0)
	data := pattern(8*sectorBytes, 1)
	if s := r.write(16, data); s != statusOK {
		t.Fatalf("write: status %d", s)
	}
	if !bytes.Equal(r.file()[16*sectorBytes:24*sectorBytes], data) {
		t.Error("the file holds something else")
	}
	got, s := r.read(16, len(data))
	if s != statusOK || !bytes.Equal(got, data) {
		t.Errorf("read: status %d, equal %v", s, bytes.Equal(got, data))
	}
	if s := r.do(typeFlush, 0); s != statusOK {
		t.Errorf("flush: status %d", s)
	}
	c := r.dev.Counters()
	for name, want := range map[string]uint64{"reads": 1, "writes": 1, "flushes": 1, "errors": 0,
		"read_bytes": uint64(len(data)), "written_bytes": uint64(len(data)), "syscalls": 3} {
		if c[name] != want {
			t.Errorf("counter %s: %d, want %d", name, c[name], want)
		}
	}
}

// Header, data and status may be cut into descriptors in any way (virtio 1.2,
// section 2.7.4).
func TestAnyLayout(t *testing.T) {
	r := newRig(t, Config{}, 0)
	data := pattern(2*sectorBytes, 3)
	out := make([]byte, headerBytes, headerBytes+len(data))
	binary.LittleEndian.PutUint32(out, typeOut)
	binary.LittleEndian.PutUint64(out[8:], 5)
	out = append(out, data...)
	addr, status := r.guest.Put(out), r.guest.Alloc(1)
	r.q.Do(
		vqtest.Buffer{Addr: addr, Len: 3},
		vqtest.Buffer{Addr: addr + 3, Len: 500},
		vqtest.Buffer{Addr: addr + 503, Len: uint32(len(out) - 503)},
		vqtest.Buffer{Addr: status, Len: 1, Writable: true})
	if s := r.guest.Bytes(status, 1)[0]; s != statusOK {
		t.Fatalf("write: status %d", s)
	}
	// Data and status in one descriptor.
	binary.LittleEndian.PutUint32(out, typeIn)
	in := r.guest.Alloc(len(data) + 1)
	r.q.Do(
		vqtest.Buffer{Addr: r.guest.Put(out[:headerBytes]), Len: headerBytes},
		vqtest.Buffer{Addr: in, Len: 7, Writable: true},
		vqtest.Buffer{Addr: in + 7, Len: uint32(len(data) - 6), Writable: true})
	got := r.guest.Bytes(in, len(data)+1)
	if got[len(data)] != statusOK || !bytes.Equal(got[:len(data)], data) {
		t.Errorf("read: status %d, equal %v", got[len(data)], bytes.Equal(got[:len(data)], data))
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	for _, without := range []uint64{0, virtio.FeatureEventIdx} {
		t.Run(fmt.Sprintf("without %#x", without), func(t *testing.T) {
			r := newRig(t, Config{}, without)
			const n, size = 64, 4 * sectorBytes
			type slot struct{ header, status, data uint64 }
			byHead := map[uint32]slot{}
			slots := make([]slot, n)
			for i := range slots {
				slots[i] = slot{r.guest.Alloc(headerBytes), r.guest.Alloc(1), r.guest.Put(pattern(size, byte(i)))}
			}
			for _, typ := range []uint32{typeOut, typeIn} {
				for i, s := range slots {
					if typ == typeIn {
						clear(r.guest.Bytes(s.data, size))
					}
					head := r.q.Add(r.chain(s.header, s.status, typ, uint64(i)*size/sectorBytes,
						vqtest.Buffer{Addr: s.data, Len: size, Writable: typ == typeIn})...)
					byHead[uint32(head)] = s
					r.q.Kick()
				}
				for range slots {
					s := byHead[r.q.WaitUsed().ID]
					if st := r.guest.Bytes(s.status, 1)[0]; st != statusOK {
						t.Fatalf("status %d", st)
					}
				}
			}
			for i, s := range slots {
				if !bytes.Equal(r.guest.Bytes(s.data, size), pattern(size, byte(i))) {
					t.Errorf("request %d read something else", i)
				}
			}
		})
	}
}

func TestRangeAndMode(t *testing.T) {
	for _, c := range []struct {
		name     string
		readOnly bool
		typ      uint32
		sector   uint64
		bytes    uint32
		want     byte
	}{
		{"last sector", false, typeIn, testSectors - 1, 512, statusOK},
		{"past the end", false, typeIn, testSectors, 512, statusIOErr},
		{"across the end", false, typeIn, testSectors - 1, 1024, statusIOErr},
		{"offset wraps", false, typeIn, 1 << 55, 512, statusIOErr},
		{"sector wraps", false, typeIn, ^uint64(0), 512, statusIOErr},
		{"half a sector", false, typeIn, 0, 256, statusIOErr},
		{"write past the end", false, typeOut, testSectors, 512, statusIOErr},
		{"write to a read-only disk", true, typeOut, 0, 512, statusIOErr},
		{"read a read-only disk", true, typeIn, 0, 512, statusOK},
		{"discard on a read-only disk", true, typeDiscard, 0, 16, statusUnsupported},
		{"write zeroes on a read-only disk", true, typeWriteZeroes, 0, 16, statusUnsupported},
		{"secure erase", false, 14, 0, 16, statusUnsupported},
		{"unknown", false, 0xffffffff, 0, 512, statusUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{ReadOnly: c.readOnly}, 0)
			before := r.file()
			addr := r.guest.Put(pattern(int(c.bytes), 9))
			if s := r.do(c.typ, c.sector, vqtest.Buffer{Addr: addr, Len: c.bytes, Writable: c.typ == typeIn}); s != c.want {
				t.Errorf("status %d, want %d", s, c.want)
			}
			if !bytes.Equal(before, r.file()) {
				t.Error("the file changed")
			}
			if err := r.tr.Err(); err != nil {
				t.Errorf("device in error: %v", err)
			}
			if s := r.do(typeGetID, 0, vqtest.Buffer{Addr: addr, Len: 16, Writable: true}); s != statusOK {
				t.Errorf("the device does not go on: status %d", s)
			}
		})
	}
}

func TestSerial(t *testing.T) {
	r := newRig(t, Config{Serial: "vol-0123456789abcdef"}, 0)
	for _, n := range []int{4, 20, 24} {
		addr := r.guest.Put(bytes.Repeat([]byte{0xee}, n))
		if s := r.do(typeGetID, 0, vqtest.Buffer{Addr: addr, Len: uint32(n), Writable: true}); s != statusOK {
			t.Errorf("status %d", s)
		}
		want := make([]byte, n)
		copy(want, "vol-0123456789abcdef")
		if got := r.guest.Bytes(addr, n); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

func TestDiscardAndWriteZeroes(t *testing.T) {
	for _, c := range []struct {
		name  string
		typ   uint32
		flags uint32
		frees bool
	}{
		{"discard", typeDiscard, 0, true},
		{"write zeroes", typeWriteZeroes, 0, false},
		{"write zeroes with unmap", typeWriteZeroes, flagUnmap, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{}, 0)
			data := bytes.Repeat([]byte{0xaa}, testSectors*sectorBytes)
			if s := r.write(0, data); s != statusOK || r.do(typeFlush, 0) != statusOK {
				t.Fatal("filling the disk failed")
			}
			full := blocks(t, r.path)
			if s := r.ranges(c.typ, c.flags, [2]uint64{64, 64}, [2]uint64{256, 128}); s != statusOK {
				t.Fatalf("status %d", s)
			}
			clear(data[64*sectorBytes : 128*sectorBytes])
			clear(data[256*sectorBytes : 384*sectorBytes])
			if !bytes.Equal(r.file(), data) {
				t.Error("the wrong range reads as zeros")
			}
			if r.do(typeFlush, 0) != statusOK {
				t.Error("flush")
			}
			if now := blocks(t, r.path); c.frees && now > full-192 || !c.frees && now < full {
				t.Errorf("%d blocks before, %d after", full, now)
			}
		})
	}
}

func TestBadRanges(t *testing.T) {
	r := newRig(t, Config{}, 0)
	data := bytes.Repeat([]byte{0xaa}, testSectors*sectorBytes)
	if s := r.write(0, data); s != statusOK {
		t.Fatal("filling the disk failed")
	}
	ok := [2]uint64{0, 8}
	many := make([][2]uint64, maxRanges+1)
	for _, c := range []struct {
		name  string
		flags uint32
		spans [][2]uint64
		want  [2]byte // for discard, for write zeroes
	}{
		{"past the end", 0, [][2]uint64{ok, {testSectors, 1}}, [2]byte{statusIOErr, statusIOErr}},
		{"too long", 0, [][2]uint64{ok, {0, maxRangeSectors + 1}}, [2]byte{statusIOErr, statusIOErr}},
		{"wraps", 0, [][2]uint64{ok, {^uint64(0), 2}}, [2]byte{statusIOErr, statusIOErr}},
		{"none", 0, nil, [2]byte{statusIOErr, statusIOErr}},
		{"too many", 0, many, [2]byte{statusIOErr, statusIOErr}},
		{"unknown flag", 2, [][2]uint64{ok}, [2]byte{statusUnsupported, statusUnsupported}},
	} {
		for i, typ := range []uint32{typeDiscard, typeWriteZeroes} {
			var s byte
			if c.spans == nil {
				s = r.do(typ, 0)
			} else {
				s = r.ranges(typ, c.flags, c.spans...)
			}
			if s != c.want[i] {
				t.Errorf("%s, type %d: status %d, want %d", c.name, typ, s, c.want[i])
			}
		}
	}
	if s := r.ranges(typeDiscard, flagUnmap, ok); s != statusUnsupported {
		t.Errorf("discard with unmap: status %d", s)
	}
	if s := r.do(typeDiscard, 0, vqtest.Buffer{Addr: r.header, Len: 15}); s != statusIOErr {
		t.Errorf("ragged range: status %d", s)
	}
	if !bytes.Equal(r.file(), data) {
		t.Error("a refused request changed the disk")
	}
}

func TestConfigSpace(t *testing.T) {
	r := newRig(t, Config{}, 0)
	b := make([]byte, 64)
	r.dev.ReadConfig(0, b)
	le := binary.LittleEndian
	for _, f := range []struct {
		name      string
		got, want uint64
	}{
		{"capacity", le.Uint64(b), testSectors},
		{"seg_max", uint64(le.Uint32(b[12:])), 254},
		{"blk_size", uint64(le.Uint32(b[20:])), 512},
		{"physical_block_exp", uint64(b[24]), 3},
		{"num_queues", uint64(le.Uint16(b[34:])), 1},
		{"max_discard_sectors", uint64(le.Uint32(b[36:])), maxRangeSectors},
		{"max_discard_seg", uint64(le.Uint32(b[40:])), maxRanges},
		{"max_write_zeroes_seg", uint64(le.Uint32(b[52:])), maxRanges},
		{"write_zeroes_may_unmap", uint64(b[56]), 1},
		{"past the end", uint64(le.Uint32(b[60:])), 0},
	} {
		if f.got != f.want {
			t.Errorf("%s is %d, want %d", f.name, f.got, f.want)
		}
	}
	for _, off := range []uint32{60, 1 << 31, 0xffffffff} {
		b := []byte{1, 2}
		if r.dev.ReadConfig(off, b); b[0]|b[1] != 0 {
			t.Errorf("read at %d: % x", off, b)
		}
	}
}

func TestRefusedDescriptors(t *testing.T) {
	path := newFile(t, 8)
	for name, c := range map[string]struct {
		fd     int
		config Config
	}{
		"read-only descriptor":  {openFD(t, path, unix.O_RDONLY), Config{}},
		"append":                {openFD(t, path, unix.O_RDWR|unix.O_APPEND), Config{}},
		"write-only descriptor": {openFD(t, path, unix.O_WRONLY), Config{ReadOnly: true}},
		"directory":             {openFD(t, t.TempDir(), unix.O_RDONLY), Config{ReadOnly: true}},
		"long serial":           {openFD(t, path, unix.O_RDWR), Config{Serial: "123456789012345678901"}},
		"closed":                {-1, Config{}},
	} {
		c.config.FD = c.fd
		if d, err := New(c.config); err == nil {
			d.Close()
			t.Errorf("%s: accepted", name)
		} else if c.fd >= 0 {
			unix.Close(c.fd)
		}
	}
}

func TestSaveAndRestore(t *testing.T) {
	r := newRig(t, Config{}, 0)
	r.write(0, pattern(512, 0))
	r.dev.Reset()
	if avail, used := r.dev.Position(0); avail != 1 || used != 1 {
		t.Errorf("position %d, %d", avail, used)
	}
	raw, err := r.dev.Save()
	if err != nil {
		t.Fatal(err)
	}
	// A new device goes on in the same rings.
	next := newDevice(t, Config{FD: openFD(t, r.path, unix.O_RDWR)})
	if err := next.Restore(raw); err != nil {
		t.Fatal(err)
	}
	r.q.Setup.NextAvail, r.q.Setup.NextUsed = r.dev.Position(0)
	r.dev = next
	r.tr = r.guest.NewTransport(next.Features(), r.q)
	// This request is made before the new device looks, and its kick is lost.
	r.q.Add(r.chain(r.header, r.status, typeIn, 0, vqtest.Buffer{Addr: r.guest.Alloc(512), Len: 512, Writable: true})...)
	if err := next.Activate(r.tr.Activation); err != nil {
		t.Fatal(err)
	}
	r.q.WaitUsed()
	if s := r.guest.Bytes(r.status, 1)[0]; s != statusOK {
		t.Errorf("status %d", s)
	}
	other := newDevice(t, Config{FD: openFD(t, newFile(t, 8), unix.O_RDWR)})
	for name, raw := range map[string]string{"another size": string(raw), "not JSON": "{", "another version": `{"version":99,"sectors":8}`} {
		if other.Restore([]byte(raw)) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	r := newRig(t, Config{}, 0)
	r.dev.Reset()
	s, err := newSession(r.dev, r.tr.Activation)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stopQueues()
	req := <-s.rings[0].idle
	data := vqtest.Buffer{Addr: r.guest.Alloc(4096), Len: 4096, Writable: true}
	r.q.Restart()
	for i, b := range r.chain(r.header, r.status, typeIn, 0, data) {
		flags := uint16(1)
		if i == 2 {
			flags = 0
		}
		r.guest.PutDescriptor(r.q.Setup.Desc, i, b, flags, uint16(i+1))
	}
	if n := testing.AllocsPerRun(200, func() {
		r.q.AddHead(0)
		if ok, err := req.ring.q.Pop(req.chain); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := req.serve(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestAdvance(t *testing.T) {
	for range 200 {
		var segs [][]byte
		var all []byte
		for range 1 + rand.IntN(5) {
			b := pattern(1+rand.IntN(9), byte(rand.Int()))
			segs, all = append(segs, b), append(all, b...)
		}
		n := rand.IntN(len(all) + 1)
		iovs := advance(appendIovecs(nil, segs), n)
		var sum int
		for _, v := range iovs {
			sum += int(v.Len)
		}
		if sum != len(all)-n || len(iovs) > 0 && *iovs[0].Base != all[n] {
			t.Fatalf("advance %d of %d: %d left", n, len(all), sum)
		}
	}
}
