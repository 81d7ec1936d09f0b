package console

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// Random sequences of what driver, admin and host may do to a console: output
// comes out once and in order, input goes in once and in order.
func TestRandomSequences(t *testing.T) {
	g := vqtest.NewGuest(t, 1<<20)
	buf := g.Alloc(1024)
	type pair struct{ rx, tx *vqtest.Queue }
	pairs := map[uint64]pair{}
	for _, f := range []uint64{0, virtio.FeatureEventIdx} {
		pairs[f] = pair{g.NewQueue(16, f), g.NewQueue(16, f)}
	}
	rapid.Check(t, func(rt *rapid.T) {
		features := rapid.SampledFrom([]uint64{0, virtio.FeatureEventIdx}).Draw(rt, "features")
		rx, tx := pairs[features].rx, pairs[features].tx
		rx.Restart()
		tx.Restart()
		out := &record{}
		open := func() *Device {
			d, err := New(Config{Name: "virtio-console0", Output: out})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		dev := open()
		defer func() {
			dev.Reset()
			dev.Close()
		}()
		var tr *vqtest.Transport // nil while not active
		var printed, typed string
		activate := func() {
			if tr != nil {
				return
			}
			tr = g.NewTransport(features, rx, tx)
			if err := dev.Activate(tr.Activation); err != nil {
				rt.Fatal(err)
			}
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
		text := rapid.StringMatching(`[a-z]{1,40}`)
		rt.Repeat(map[string]func(*rapid.T){
			"print": func(rt *rapid.T) {
				s := text.Draw(rt, "text")
				n := copy(g.Bytes(buf, 64), s)
				tx.Add(vqtest.Buffer{Addr: buf, Len: uint32(n)})
				tx.Kick()
				activate()
				tx.WaitUsed()
				printed += s
			},
			"type": func(rt *rapid.T) {
				s := text.Draw(rt, "text")
				if _, err := dev.WriteInput(context.Background(), []byte(s)); err != nil {
					rt.Fatal(err)
				}
				typed += s
			},
			"read": func(rt *rapid.T) {
				if typed == "" {
					rt.Skip()
				}
				n := rapid.Uint32Range(1, 64).Draw(rt, "buffer")
				rx.Add(vqtest.Buffer{Addr: buf + 512, Len: n, Writable: true})
				rx.Kick()
				activate()
				u := rx.WaitUsed()
				got := string(g.Bytes(buf+512, int(u.Len)))
				if got == "" || len(got) > len(typed) || typed[:len(got)] != got {
					rt.Fatalf("guest read %q of %q", got, typed)
				}
				typed = typed[len(got):]
			},
			"resize": func(rt *rapid.T) { dev.Resize(rapid.Uint16().Draw(rt, "columns"), 24) },
			"pause":  func(*rapid.T) { pause() },
			"reset by a new driver": func(*rapid.T) {
				dev.Reset()
				rx.Restart()
				tx.Restart()
				tr = nil
			},
			"save and restore": func(rt *rapid.T) {
				pause()
				raw, err := dev.Save()
				if err != nil {
					rt.Fatal(err)
				}
				dev.Close()
				dev = open()
				if err := dev.Restore(raw); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				if tr != nil && tr.Err() != nil {
					rt.Fatalf("device in error: %v", tr.Err())
				}
				if got := out.String(); got != printed {
					rt.Fatalf("sink has %q, want %q", got, printed)
				}
			},
		})
	})
}
