package entropy

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// Random sequences of what driver and host may do: whatever the order, the guest
// never has more bytes than the rate gave it.
func TestRandomSequences(t *testing.T) {
	const rate = 1000
	g := vqtest.NewGuest(t, 1<<20)
	buf := g.Alloc(8192)
	queues := map[uint64]*vqtest.Queue{0: g.NewQueue(16, 0), virtio.FeatureEventIdx: g.NewQueue(16, virtio.FeatureEventIdx)}
	source := openSource(t, "/dev/urandom")
	t.Cleanup(func() { unix.Close(source) })
	rapid.Check(t, func(rt *rapid.T) {
		features := rapid.SampledFrom([]uint64{0, virtio.FeatureEventIdx}).Draw(rt, "features")
		q := queues[features]
		q.Restart()
		c := newClock()
		start := c.Now()
		open := func() *Device {
			d, err := New(Config{Name: "virtio-rng0", Source: source, BytesPerSecond: rate, Clock: c})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		dev := open()
		defer func() { dev.Reset() }()
		model := newBucket(rate, rate, start) // what the device should have
		var tr *vqtest.Transport              // nil while not active
		var given, want uint64                // want is 0 without a request in the ring
		waits := false                        // the device waits for tokens
		// answer follows the device to where it has answered or waits.
		answer := func() {
			got, wait := model.take(min(want, MaxRequest), c.Now())
			if got == 0 {
				if d := <-c.waiting; d != wait {
					rt.Fatalf("waits %v, want %v", d, wait)
				}
				waits = true
				return
			}
			if u := q.WaitUsed(); uint64(u.Len) != got {
				rt.Fatalf("given %d bytes, want %d", u.Len, got)
			}
			given += got
			want, waits = 0, false
		}
		activate := func() {
			if tr != nil {
				return
			}
			tr = g.NewTransport(features, q)
			if err := dev.Activate(tr.Activation); err != nil {
				rt.Fatal(err)
			}
			if want > 0 {
				answer()
			}
		}
		stop := func() {
			dev.Reset()
			q.Setup.NextAvail, q.Setup.NextUsed = dev.Position(0)
			tr, waits = nil, false
		}
		rt.Repeat(map[string]func(*rapid.T){
			"request": func(rt *rapid.T) {
				if want > 0 {
					activate()
					return
				}
				activate()
				n := rapid.Uint32Range(1, 8192).Draw(rt, "length")
				want = uint64(n)
				q.Add(vqtest.Buffer{Addr: buf, Len: n, Writable: true})
				q.Kick()
				answer()
			},
			"time passes": func(rt *rapid.T) {
				d := time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(rt, "time"))
				if waits {
					c.pass(d)
					answer()
				} else {
					c.advance(d)
				}
			},
			"pause": func(*rapid.T) {
				if tr != nil {
					stop()
				}
			},
			"reset by a new driver": func(*rapid.T) {
				stop()
				q.Restart()
				want = 0
			},
			"save and restore": func(rt *rapid.T) {
				if tr != nil {
					stop()
				}
				raw, err := dev.Save()
				if err != nil {
					rt.Fatal(err)
				}
				dev = open()
				if err := dev.Restore(raw); err != nil {
					rt.Fatal(err)
				}
				// Whole tokens are saved.
				model.refill(c.Now())
				model.remainder = 0
			},
			"": func(rt *rapid.T) {
				if tr != nil && tr.Err() != nil {
					rt.Fatalf("device in error: %v", tr.Err())
				}
				// The full bucket at the start, and the rate since.
				if most := rate + uint64(c.Now().Sub(start))*rate/uint64(time.Second); given > most {
					rt.Fatalf("%d bytes given, the rate allows %d", given, most)
				}
			},
		})
	})
}
