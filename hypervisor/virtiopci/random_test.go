package virtiopci

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"gozen/hypervisor/pci"
	"gozen/hypervisor/platform"
	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/virtio"
)

// check asserts what must hold whatever the driver did.
func (r *rig) check() {
	r.t.Helper()
	tr, status := r.tr, r.status()
	steps := []uint8{statusAcknowledge, statusDriver, statusFeaturesOK, statusDriverOK}
	for i, bit := range steps[1:] {
		if status&bit != 0 && status&steps[i] == 0 {
			r.t.Fatalf("status %#x skips a step", status)
		}
	}
	failed := status&statusNeedsReset != 0
	if failed != (tr.Err() != nil) {
		r.t.Fatalf("status %#x with error %v", status, tr.Err())
	}
	if r.dev.active != nil && status&statusDriverOK == 0 || r.dev.active == nil && status&statusDriverOK != 0 && !failed {
		r.t.Fatalf("device active is %v with status %#x", r.dev.active != nil, status)
	}
	if status&statusFeaturesOK != 0 && (tr.driverFeatures&^tr.offered != 0 || tr.driverFeatures&virtio.FeatureVersion1 == 0) {
		r.t.Fatalf("features %#x agreed of %#x", tr.driverFeatures, tr.offered)
	}
	for i, q := range tr.queues {
		if q.enabled && tr.checkQueue(q) != nil {
			r.t.Fatalf("queue %d is enabled: %v", i, tr.checkQueue(q))
		}
		if a := r.dev.active; a != nil {
			want := virtio.Queue{KickFD: q.kick, CallFD: q.vector.FD()}
			if q.enabled {
				want.Size, want.Desc, want.Driver, want.Device = q.size, q.desc, q.driver, q.device
			}
			if a.Queues[i] != want {
				r.t.Fatalf("queue %d: the device has %+v, registers say %+v", i, a.Queues[i], want)
			}
		}
	}
	control := uint16(r.configRead(r.bodyAt[0]+2, 2))
	for i, l := range r.lines {
		s := &tr.config
		if i > 0 {
			s = &tr.queues[i-1].source
		}
		open := control&(msixEnable|msixFunctionMask) == msixEnable && s.entry != noVector
		var msg msixMessage
		if open {
			e := r.entry(int(s.entry))
			msg = msixMessage{r.read(e, 8), uint32(r.read(e+8, 4))}
			open = r.read(e+12, 4)&msixEntryMask == 0 && msg.addr>>20 == platform.LAPICBase>>20
		}
		if l.open != open || open && l.message != msg {
			r.t.Fatalf("vector %d: open %v with %+v, the table says %v with %+v", i, l.open, l.message, open, msg)
		}
	}
	if len(r.bells) != testQueues {
		r.t.Fatalf("%d doorbells", len(r.bells))
	}
	for i, q := range tr.queues {
		if r.bells[r.bar+notifyOff+uint64(i)*notifyMultiplier] != q.kick {
			r.t.Fatalf("queue %d: no doorbell at %#x: %v", i, r.bar, r.bells)
		}
	}
}

// TestRandomDriver drives the registers in any order, mostly with values that
// make sense, and checks after every step.
func TestRandomDriver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(rt)
		reg16 := func(reg uint64, values ...uint64) func(*rapid.T) {
			return func(rt *rapid.T) { r.write(reg, 2, rapid.SampledFrom(values).Draw(rt, "value")) }
		}
		address := rapid.OneOf(
			rapid.Map(rapid.Uint64Range(0, testMemory/0x100), func(v uint64) uint64 { return v * 0x100 }),
			rapid.Uint64(),
		)
		rt.Repeat(map[string]func(*rapid.T){
			"status": func(rt *rapid.T) {
				r.setStatus(rapid.SampledFrom([]uint8{0, 1, 3, 11, 15, 7, 9, 0x80, 0x8f, 0xff}).Draw(rt, "status"))
			},
			"climb": func(rt *rapid.T) {
				r.accept(virtio.FeatureVersion1 | testFeature)
				r.setStatus(r.status() | 11)
			},
			"ready": func(*rapid.T) { r.setStatus(r.status() | 15) },
			"feature": func(rt *rapid.T) {
				r.write(regDriverFeatureSelect, 4, rapid.Uint64Range(0, 2).Draw(rt, "select"))
				r.write(regDriverFeature, 4, rapid.SampledFrom([]uint64{0, 1, testFeature, 0xffff_ffff}).Draw(rt, "feature"))
			},
			"select":     reg16(regQueueSelect, 0, 1, 2, 3, 0xffff),
			"size":       reg16(regQueueSize, 0, 1, 2, 4, 7, 16, 32, 0xffff),
			"enable":     reg16(regQueueEnable, 0, 1, 2),
			"vector":     reg16(regQueueVector, 0, 1, 2, 3, 4, 0xffff),
			"configured": reg16(regConfigVector, 0, 1, 2, 3, 4, 0xffff),
			"reset":      reg16(regQueueReset, 0, 1),
			"ring": func(rt *rapid.T) {
				reg := rapid.SampledFrom([]uint64{regQueueDesc, regQueueDriver, regQueueDevice}).Draw(rt, "register")
				r.write(reg, 8, address.Draw(rt, "address"))
			},
			"good queue": func(rt *rapid.T) {
				q := rapid.IntRange(0, testQueues-1).Draw(rt, "queue")
				r.setQueue(q, 4, r.ring(q), r.ring(q)+0x400, r.ring(q)+0x800)
			},
			"entry": func(rt *rapid.T) {
				e := r.entry(rapid.IntRange(0, testQueues+1).Draw(rt, "entry"))
				r.write(e+8*rapid.Uint64Range(0, 1).Draw(rt, "half"), 8,
					rapid.SampledFrom([]uint64{platform.LAPICBase, platform.LAPICBase + 0x1004, 1 << 32, 0x1000}).Draw(rt, "value"))
			},
			"control": func(rt *rapid.T) {
				r.config(r.bodyAt[0]+2, 2, rapid.SampledFrom([]uint32{0, msixEnable, msixEnable | msixFunctionMask, 0xffff}).Draw(rt, "control"))
			},
			"move": func(rt *rapid.T) {
				r.bar = platform.PCIWindow64Base + barSize*rapid.Uint64Range(0, 3).Draw(rt, "place")
				r.config(0x10, 4, uint32(r.bar))
			},
			"kick":   func(rt *rapid.T) { r.write(notifyOff+4*rapid.Uint64Range(0, testQueues).Draw(rt, "queue"), 2, 0) },
			"signal": func(rt *rapid.T) { signal(rapid.SampledFrom(r.lines).Draw(rt, "vector").fd) },
			"fail": func(*rapid.T) {
				if a := r.dev.active; a != nil {
					a.Fail(errors.New("found something"))
				}
			},
			"changed": func(*rapid.T) {
				if a := r.dev.active; a != nil {
					a.ConfigChanged()
				}
			},
			"read": func(rt *rapid.T) { r.read(rapid.Uint64Range(0, barSize-8).Draw(rt, "offset"), 8) },
			"save": func(rt *rapid.T) { r.copyTo(rt) },
			"":     func(*rapid.T) { r.check() },
		})
	})
}

// copyTo saves a paused transport and restores it into another, which must look
// the same.
func (r *rig) copyTo(t tb) {
	if err := r.tr.Pause(); err != nil {
		t.Fatal(err)
	}
	s, err := r.tr.Save()
	if err != nil {
		t.Fatal(err)
	}
	to := newRig(t)
	to.bar = r.bar
	if err := errors.Join(to.root.Restore(r.root.Save()), to.tr.Restore(s)); err != nil {
		t.Fatal(err)
	}
	for off := uint64(0); off < barSize; off += 4 {
		// The ISR byte changes by reading it; notification registers read as zero.
		if off != isrOff && r.read(off, 4) != to.read(off, 4) {
			t.Fatalf("restored BAR %#x: %#x, was %#x", off, to.read(off, 4), r.read(off, 4))
		}
	}
	if err := errors.Join(r.tr.Resume(), to.tr.Resume()); err != nil {
		t.Fatal(err)
	}
	to.check()
}

// FuzzBAR lets a guest access the BAR and the capability for access by
// configuration space in any way. Each access is 12 bytes: where and how, and
// the data.
func FuzzBAR(f *testing.F) {
	const read, viaConfig = 1 << 31, 1 << 27
	op := func(off uint64, n int, v uint64, flags uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(off)|uint32(n-1)<<28|flags)
		return binary.LittleEndian.AppendUint64(b, v)
	}
	negotiate := slices.Concat(op(regDriverFeatureSelect, 4, 1, 0), op(regDriverFeature, 4, 1, 0), op(regStatus, 1, 11, 0))
	f.Add(slices.Concat(negotiate, op(regStatus, 1, 15, 0), op(notifyOff, 2, 0, 0), op(isrOff, 1, 0, read), op(regStatus, 1, 0, 0)))
	f.Add(slices.Concat(negotiate, op(regQueueDesc, 8, 0x1000, 0), op(regQueueDriver, 8, 0x2000, 0), op(regQueueDevice, 8, 0x3000, 0),
		op(regQueueSize, 2, 8, 0), op(regQueueEnable, 2, 1, 0), op(regStatus, 1, 15, 0)))
	f.Add(slices.Concat(op(0x42, 2, msixEnable, viaConfig), op(tableOff, 8, platform.LAPICBase, 0), op(tableOff+8, 8, 0x41, 0), op(regConfigVector, 2, 0, 0)))
	f.Add(slices.Concat(op(0x94, 8, 0, viaConfig), op(0x98, 8, 4<<32|regDriverFeature, viaConfig), op(0xa0, 4, 1, viaConfig)))
	f.Add(slices.Concat(op(pageSize-4, 8, ^uint64(0), 0), op(barSize-1, 1, 0, read), op(pbaOff, 8, 0, read), op(deviceOff+5, 7, 1, 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRig(t)
		for ; len(data) >= 12; data = data[12:] {
			w := binary.LittleEndian.Uint32(data)
			off, n := uint64(w)%barSize, int(w>>28)%8+1
			p := data[4 : 4+n]
			switch {
			case w&viaConfig != 0:
				// Everything but the command register and the BAR, which other tests move.
				if off := off % 256; off >= 0x40 {
					r.mmio.Write(platform.ECAMBase+1<<15+off, p)
				}
			case w&read != 0:
				r.mmio.Read(r.bar+off, slices.Clone(p))
			default:
				r.mmio.Write(r.bar+off, p)
			}
		}
		r.check()
	})
}

// TestConcurrentAccess has vCPUs, a failing device and a stop meet, for the race
// detector and for deadlocks between the locks of bus, PCI and transport.
func TestConcurrentAccess(t *testing.T) {
	r := newRig(t)
	done := make(chan struct{})
	spin := func(fn func()) {
		go func() {
			for range 300 {
				fn()
			}
			done <- struct{}{}
		}()
	}
	p := func(v uint64, n int) []byte { return binary.LittleEndian.AppendUint64(nil, v)[:n] }
	ecam := uint64(platform.ECAMBase + 1<<15)
	workers := []func(){
		func() { r.bringUpBlindly() },
		func() {
			r.mmio.Write(ecam+4, p(0, 2))
			r.mmio.Write(ecam+4, p(pci.CommandMemory, 2))
		},
		func() {
			r.mmio.Write(ecam+uint64(r.bodyAt[0])+2, p(msixEnable, 2))
			r.mmio.Read(r.bar+regStatus, p(0, 1))
			r.mmio.Write(ecam+uint64(r.bodyAt[capPCICfg])+12, p(4, 4))
		},
		func() { _ = r.tr.Err() },
	}
	for _, fn := range workers {
		spin(fn)
	}
	for range workers {
		<-done
	}
	r.bringUp()
	if err := eventfd.Signal(r.tr.queues[0].kick); err != nil {
		t.Fatal(err)
	}
	r.dev.awaitKick(0)
}

// bringUpBlindly writes what bringUp writes to a BAR that may be off.
func (r *rig) bringUpBlindly() {
	w := func(off uint64, n int, v uint64) {
		r.mmio.Write(r.bar+off, binary.LittleEndian.AppendUint64(nil, v)[:n])
	}
	w(regStatus, 1, 0)
	w(regDriverFeatureSelect, 4, 1)
	w(regDriverFeature, 4, 1)
	w(regStatus, 1, 11)
	w(regQueueDesc, 8, r.ring(0))
	w(regQueueDriver, 8, r.ring(0)+0x400)
	w(regQueueDevice, 8, r.ring(0)+0x800)
	w(regQueueEnable, 2, 1)
	w(regStatus, 1, 15)
	w(notifyOff, 2, 0)
}
