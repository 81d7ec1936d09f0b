package block

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/virtqueue/vqtest"
)

// FuzzRequest lets the guest choose a request's bytes and how they are cut. A
// request that is answered ends with a status; one that writes changes only the
// disk's own range; the file keeps its size.
func FuzzRequest(f *testing.F) {
	request := func(typ uint32, sector uint64, data ...byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, typ)
		b = binary.LittleEndian.AppendUint32(b, 0)
		return append(binary.LittleEndian.AppendUint64(b, sector), data...)
	}
	span := func(sector uint64, sectors, flags uint32) []byte {
		b := binary.LittleEndian.AppendUint64(nil, sector)
		b = binary.LittleEndian.AppendUint32(b, sectors)
		return binary.LittleEndian.AppendUint32(b, flags)
	}
	f.Add(request(typeIn, 0), uint16(512), uint16(4))
	f.Add(request(typeIn, 63), uint16(1024), uint16(16))
	f.Add(request(typeOut, 3, make([]byte, 512)...), uint16(0), uint16(20))
	f.Add(request(typeOut, 1<<55, make([]byte, 512)...), uint16(0), uint16(0))
	f.Add(request(typeFlush, 0), uint16(0), uint16(1))
	f.Add(request(typeGetID, 0), uint16(20), uint16(1))
	f.Add(request(typeDiscard, 0, span(8, 8, 0)...), uint16(0), uint16(17))
	f.Add(request(typeWriteZeroes, 0, append(span(0, 8, 1), span(60, 8, 0)...)...), uint16(0), uint16(0))
	f.Add(request(99, 0), uint16(3), uint16(2))
	f.Add([]byte{1}, uint16(0), uint16(0))

	const sectors = 64
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC) // its flush costs nothing
	if err != nil {
		f.Fatal(err)
	}
	if err := unix.Ftruncate(fd, sectors*sectorBytes); err != nil {
		f.Fatal(err)
	}
	dev := newDevice(f, Config{FD: fd, Serial: "fuzz", Workers: 1})
	f.Fuzz(func(t *testing.T, out []byte, inBytes, cut uint16) {
		if len(out) == 0 || len(out) > 1<<16 {
			return
		}
		g := vqtest.NewGuest(t, 256<<10)
		features := dev.Features()
		q := g.NewQueue(8, features)
		tr := g.NewTransport(features, q)
		s, err := newSession(dev, tr.Activation)
		if err != nil {
			t.Fatal(err)
		}
		defer s.stopQueues()
		req := <-s.rings[0].idle

		var bufs []vqtest.Buffer
		addr := g.Put(out)
		for _, n := range []uint32{min(uint32(cut), uint32(len(out))), uint32(len(out)) - min(uint32(cut), uint32(len(out)))} {
			if n > 0 {
				bufs = append(bufs, vqtest.Buffer{Addr: addr, Len: n})
				addr += uint64(n)
			}
		}
		in := g.Put(bytes.Repeat([]byte{0xee}, int(inBytes)+1))
		if inBytes > 0 {
			bufs = append(bufs, vqtest.Buffer{Addr: in, Len: uint32(inBytes), Writable: true})
		}
		bufs = append(bufs, vqtest.Buffer{Addr: in + uint64(inBytes), Len: 1, Writable: true})
		q.Add(bufs...)
		if ok, err := req.ring.q.Pop(req.chain); !ok || err != nil {
			t.Fatal(ok, err)
		}
		err = req.serve()
		if len(out) < headerBytes {
			if err == nil {
				t.Fatal("a request without a header was answered")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		u, ok := q.TryUsed()
		if !ok || u.Len != uint32(inBytes)+1 {
			t.Fatalf("used %+v, %v", u, ok)
		}
		answer := g.Bytes(in, int(inBytes)+1)
		status := answer[inBytes]
		if status > statusUnsupported {
			t.Fatalf("status %d", status)
		}
		sector := binary.LittleEndian.Uint64(out[8:])
		n := uint64(len(out) - headerBytes)
		switch typ := binary.LittleEndian.Uint32(out); typ {
		case typeIn, typeOut:
			if typ == typeIn {
				n = uint64(inBytes)
			}
			good := n%sectorBytes == 0 && sector <= sectors && n/sectorBytes <= sectors-sector
			if good != (status == statusOK) {
				t.Fatalf("type %d of %d bytes at sector %d: status %d", typ, n, sector, status)
			}
			if typ == typeOut && good {
				got := make([]byte, n)
				if _, err := unix.Pread(dev.disk.fd, got, int64(sector*sectorBytes)); err != nil || !bytes.Equal(got, out[headerBytes:]) {
					t.Fatalf("wrote something else: %v", err)
				}
			}
		case typeFlush, typeGetID:
			if status != statusOK {
				t.Fatalf("type %d: status %d", typ, status)
			}
		case typeDiscard, typeWriteZeroes:
		default:
			if status != statusUnsupported {
				t.Fatalf("type %d: status %d", typ, status)
			}
		}
		var st unix.Stat_t
		if err := unix.Fstat(dev.disk.fd, &st); err != nil || st.Size != sectors*sectorBytes {
			t.Fatalf("the file has %d bytes: %v", st.Size, err)
		}
	})
}
