package block

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// Random sequences of what driver and host may do to a disk, against a copy of
// the disk in memory: whatever the order, every request is answered, and what was
// written is there.
func TestRandomSequences(t *testing.T) {
	const sectors, span = 64, 8
	path := newFile(t, sectors)
	g := vqtest.NewGuest(t, 8<<20)
	header, status, data := g.Alloc(headerBytes), g.Alloc(1), g.Alloc(span*sectorBytes)
	queues := map[uint64]*vqtest.Queue{
		0:                      g.NewQueue(16, 0),
		virtio.FeatureEventIdx: g.NewQueue(16, virtio.FeatureEventIdx),
	}
	rapid.Check(t, func(rt *rapid.T) {
		features := rapid.SampledFrom([]uint64{0, virtio.FeatureEventIdx}).Draw(rt, "features")
		if rapid.Bool().Draw(rt, "flush") {
			features |= featureFlush
		}
		q := queues[features&virtio.FeatureEventIdx]
		q.Restart()
		fd := openFD(t, path, unix.O_RDWR)
		model := make([]byte, sectors*sectorBytes)
		if _, err := unix.Pwrite(fd, model, 0); err != nil {
			t.Fatal(err)
		}
		open := func(fd int) *Device {
			d, err := New(Config{Name: "virtio-blk0", FD: fd, Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		dev := open(fd)
		defer func() {
			dev.Reset()
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		}()
		var tr *vqtest.Transport // nil while not active
		activate := func() {
			tr = g.NewTransport(features, q)
			if err := dev.Activate(tr.Activation); err != nil {
				rt.Fatal(err)
			}
		}
		goOn := func() { q.Setup.NextAvail, q.Setup.NextUsed = dev.Position(0) }
		r := &rig{T: t, guest: g, q: q}
		request := func(typ uint32, sector uint64, bufs ...vqtest.Buffer) {
			q.Add(r.chain(header, status, typ, sector, bufs...)...)
			if tr == nil {
				activate() // it finds the request without a kick
			} else {
				q.Kick()
			}
			q.WaitUsed()
			if s := g.Bytes(status, 1)[0]; s != statusOK {
				rt.Fatalf("type %d at sector %d: status %d", typ, sector, s)
			}
		}
		place := func(rt *rapid.T) (sector uint64, n int) {
			n = rapid.IntRange(1, span).Draw(rt, "sectors")
			return uint64(rapid.IntRange(0, sectors-n).Draw(rt, "sector")), n * sectorBytes
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				sector, n := place(rt)
				b := pattern(n, rapid.Byte().Draw(rt, "seed"))
				copy(g.Bytes(data, n), b)
				request(typeOut, sector, vqtest.Buffer{Addr: data, Len: uint32(n)})
				copy(model[sector*sectorBytes:], b)
			},
			"read": func(rt *rapid.T) {
				sector, n := place(rt)
				request(typeIn, sector, vqtest.Buffer{Addr: data, Len: uint32(n), Writable: true})
				if !bytes.Equal(g.Bytes(data, n), model[sector*sectorBytes:][:n]) {
					rt.Fatalf("%d bytes at sector %d are not what was written", n, sector)
				}
			},
			"flush": func(*rapid.T) { request(typeFlush, 0) },
			"spurious kick": func(rt *rapid.T) {
				if tr == nil {
					rt.Skip()
				}
				q.ForceKick()
			},
			"reset by a new driver": func(*rapid.T) {
				dev.Reset()
				q.Restart()
				tr = nil
			},
			"pause": func(*rapid.T) {
				if tr != nil {
					dev.Reset()
					goOn()
					tr = nil
				}
			},
			"reset twice": func(*rapid.T) {
				if tr != nil {
					dev.Reset()
					dev.Reset()
					goOn()
					tr = nil
				}
			},
			"save and restore": func(rt *rapid.T) {
				if tr != nil {
					dev.Reset()
					goOn()
					tr = nil
				}
				raw, err := dev.Save()
				if err != nil {
					rt.Fatal(err)
				}
				if err := dev.Close(); err != nil {
					rt.Fatal(err)
				}
				dev = open(openFD(t, path, unix.O_RDWR))
				if err := dev.Restore(raw); err != nil {
					rt.Fatal(err)
				}
			},
			"broken request": func(*rapid.T) {
				q.Add(vqtest.Buffer{Addr: header, Len: 1})
				if tr == nil {
					activate()
				} else {
					q.Kick()
				}
				<-tr.Failed()
				dev.Reset()
				q.Restart()
				tr = nil
			},
			"": func(rt *rapid.T) {
				if tr != nil && tr.Err() != nil {
					rt.Fatalf("device in error: %v", tr.Err())
				}
				dev.Counters()
			},
		})
	})
}
