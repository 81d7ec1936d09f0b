package net

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// Random sequences of what driver, wire and host may do to the user data path.
// Frames to the guest may be lost over a reset, as on any wire, but arrive whole
// and in order; frames from the guest leave whole, each as it was handed over.
func TestRandomSequences(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(ends[0])
		unix.Close(ends[1])
	})
	g := vqtest.NewGuest(t, 1<<20)
	out, in := g.Alloc(4096), g.Alloc(16*4096)
	type pair struct{ rx, tx *vqtest.Queue }
	pairs := map[uint64]pair{}
	for _, f := range []uint64{0, virtio.FeatureEventIdx} {
		pairs[f] = pair{g.NewQueue(16, f), g.NewQueue(16, f)}
	}
	wire := make([]byte, 4096)
	rapid.Check(t, func(rt *rapid.T) {
		ring := rapid.SampledFrom([]uint64{0, virtio.FeatureEventIdx}).Draw(rt, "ring features")
		merge := rapid.SampledFrom([]uint64{0, featureMrgRxbuf}).Draw(rt, "merge")
		rx, tx := pairs[ring].rx, pairs[ring].tx
		rx.Restart()
		tx.Restart()
		// What an earlier round left on the wire.
		for {
			if _, _, err := unix.Recvfrom(ends[0], wire, unix.MSG_DONTWAIT); err != nil {
				break
			}
		}
		dev := &Device{name: "virtio-net0", tap: ends[0]}
		defer dev.Reset()
		var tr *vqtest.Transport // nil while not active
		activate := func() {
			if tr != nil {
				return
			}
			tr = g.NewTransport(ring|merge, rx, tx)
			p, err := newUserPath(dev, tr.Activation)
			if err == nil {
				err = p.start()
			}
			if err != nil {
				t.Fatal(err)
			}
			dev.active = p
		}
		pause := func() {
			if tr == nil {
				return
			}
			dev.Reset()
			rx.Setup.NextAvail, rx.Setup.NextUsed = dev.Position(queueReceive)
			tx.Setup.NextAvail, tx.Setup.NextUsed = dev.Position(queueTransmit)
			tr = nil
		}
		size := 1600 // of a receive buffer
		if merge != 0 {
			size = 256
		}
		seed := byte(0)
		arrive := func(rt *rapid.T) []byte {
			seed++
			b := frame(rapid.IntRange(minFrame, 1500).Draw(rt, "length"), seed)
			if _, err := unix.Write(ends[1], b); err != nil {
				t.Fatal(err)
			}
			return b
		}
		rt.Repeat(map[string]func(*rapid.T){
			"transmit": func(rt *rapid.T) {
				seed++
				b := frame(rapid.IntRange(minFrame, 1500).Draw(rt, "length"), seed)
				copy(g.Bytes(out, len(b)), b)
				tx.Add(vqtest.Buffer{Addr: out, Len: headerBytes}, vqtest.Buffer{Addr: out + headerBytes, Len: uint32(len(b) - headerBytes)})
				tx.Kick()
				activate()
				tx.WaitUsed()
				n, err := unix.Read(ends[1], wire)
				if err != nil || !bytes.Equal(wire[:n], b) {
					rt.Fatalf("%d bytes left as %d: %v", len(b), n, err)
				}
			},
			// With a driver that was there all the time nothing is lost.
			"receive": func(rt *rapid.T) {
				activate()
				want := arrive(rt)
				addr := map[uint32]uint64{}
				var got []byte
				for i := 0; len(got) < len(want); i++ {
					at := in + uint64(i)*uint64(size)
					addr[uint32(rx.Add(vqtest.Buffer{Addr: at, Len: uint32(size), Writable: true}))] = at
					rx.Kick()
					if len(addr)*size < len(want) {
						continue // not enough yet, the device waits
					}
					for range addr {
						u := rx.WaitUsed()
						got = append(got, g.Bytes(addr[u.ID], int(u.Len))...)
					}
				}
				if !bytes.Equal(got[headerBytes:], want[headerBytes:]) {
					rt.Fatalf("%d bytes arrived as %d", len(want), len(got))
				}
			},
			// The device holds a frame without a buffer, and the driver goes away.
			"reset with a frame held": func(rt *rapid.T) {
				activate()
				stalls := dev.counters.rxStalls.Load()
				arrive(rt)
				for dev.counters.rxStalls.Load() == stalls {
					rx.ForceKick() // until the device has it
				}
				dev.Reset()
				rx.Restart()
				tx.Restart()
				tr = nil
			},
			"pause": func(*rapid.T) { pause() },
			"reset by a new driver": func(*rapid.T) {
				dev.Reset()
				rx.Restart()
				tx.Restart()
				tr = nil
			},
			"broken ring": func(*rapid.T) {
				activate()
				tx.AddHead(0xffff)
				tx.ForceKick()
				<-tr.Failed()
				dev.Reset()
				rx.Restart()
				tx.Restart()
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
