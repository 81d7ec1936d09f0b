package virtiopci

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/pci"
	"gozen/hypervisor/platform"
	"gozen/pvdrivers/eventfd"
	"gozen/pvdrivers/virtio"
)

// await waits until the eventfd of a source is signalled, and takes the signal.
func await(t testing.TB, fd int) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(p, -1); err == nil {
			break
		} else if err != unix.EINTR {
			t.Fatal(err)
		}
	}
	if !drain(fd) {
		t.Error("nothing to take out of the eventfd")
	}
}

func TestCapabilities(t *testing.T) {
	r := newRig(t)
	if got := r.configRead(0, 4); got != 0x1044_1af4 {
		t.Errorf("identifiers %#x", got)
	}
	for kind, want := range map[uint8][2]uint32{
		capCommon: {commonOff, commonSize}, capISR: {isrOff, 1}, capDevice: {deviceOff, deviceSize},
		capNotify: {notifyOff, testQueues * notifyMultiplier},
	} {
		at, ok := r.bodyAt[kind]
		if !ok {
			t.Errorf("no capability of type %d", kind)
			continue
		}
		if bar, off, n := r.configRead(at+4, 1), r.configRead(at+8, 4), r.configRead(at+12, 4); bar != 0 || off != want[0] || n != want[1] {
			t.Errorf("type %d: BAR %d, %#x+%#x, want %#x+%#x", kind, bar, off, n, want[0], want[1])
		}
	}
	if at := r.bodyAt[capNotify]; r.configRead(at+16, 4) != notifyMultiplier || r.configRead(at+2, 1) != 20 {
		t.Error("the notification capability lacks its multiplier")
	}
	if at := r.bodyAt[capPCICfg]; at == 0 || r.configRead(at+2, 1) != 20 {
		t.Error("no capability for access by configuration space")
	}
	at := r.bodyAt[0]
	if n, table, pba := r.configRead(at+2, 2), r.configRead(at+4, 4), r.configRead(at+8, 4); n != testQueues || table != tableOff || pba != pbaOff {
		t.Errorf("MSI-X: control %#x, table %#x, pending bits %#x", n, table, pba)
	}
}

func TestBringUp(t *testing.T) {
	r := newRig(t)
	if got := r.read(regNumQueues, 2); got != testQueues {
		t.Errorf("%d queues", got)
	}
	r.choose(2)
	if got := r.read(regQueueSize, 2); got != 4 {
		t.Errorf("queue 2 is offered with size %d", got)
	}
	r.choose(testQueues)
	if got := r.read(regQueueSize, 2); got != 0 {
		t.Errorf("a queue past the last has size %d", got)
	}
	var offered uint64
	for i := range uint64(3) {
		r.write(regDeviceFeatureSelect, 4, i)
		v := r.read(regDeviceFeature, 4)
		if i < 2 {
			offered |= v << (32 * i)
		} else if v != 0 {
			t.Errorf("features past 64 bits: %#x", v)
		}
	}
	if want := virtio.FeatureVersion1 | testFeature; offered != want {
		t.Errorf("offered %#x, want %#x", offered, want)
	}
	r.bringUp()
	a := r.dev.active
	if a == nil || a.Features != virtio.FeatureVersion1|testFeature || len(a.Queues) != testQueues {
		t.Fatalf("activated with %+v", a)
	}
	for i, q := range a.Queues {
		if q.Desc != r.ring(i) || q.Driver != r.ring(i)+0x400 || q.Device != r.ring(i)+0x800 || q.Size != []uint16{16, 8, 4}[i] || q.NextAvail|q.NextUsed != 0 {
			t.Errorf("queue %d: %+v", i, q)
		}
	}
	r.choose(1)
	if en, size := r.read(regQueueEnable, 2), r.read(regQueueSize, 2); en != 1 || size != 8 {
		t.Errorf("queue 1: enabled %d, size %d", en, size)
	}
	// Settled now.
	r.write(regQueueSize, 2, 4)
	r.write(regQueueDesc, 4, 0)
	r.write(regQueueEnable, 2, 0)
	r.accept(0)
	if r.read(regQueueSize, 2) != 8 || r.read(regQueueDesc, 8) != r.ring(1) || r.read(regQueueEnable, 2) != 1 || r.read(regDriverFeature, 4) != 1 {
		t.Error("a running device let itself be changed")
	}
	r.setStatus(0)
	if r.dev.active != nil || r.dev.resets != 1 || r.status() != 0 || r.read(regQueueEnable, 2) != 0 {
		t.Error("reset left something behind")
	}
	r.bringUp()
	if r.dev.active == nil {
		t.Error("no second life after a reset")
	}
}

func TestStatusOrder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		accept uint64
		writes []uint8
		want   uint8
	}{
		{"steps", virtio.FeatureVersion1, []uint8{1, 3, 11, 15}, 15},
		{"two steps at once", virtio.FeatureVersion1, []uint8{3, 11, 15}, 15},
		{"taking a bit away", virtio.FeatureVersion1, []uint8{3, 1}, 3},
		{"driver before acknowledge", virtio.FeatureVersion1, []uint8{2}, 0},
		{"features before driver", virtio.FeatureVersion1, []uint8{1, 9}, 1},
		{"ready without features", virtio.FeatureVersion1, []uint8{3, 7}, 3},
		{"feature not offered", virtio.FeatureVersion1 | 1<<40, []uint8{3, 11}, 3},
		{"no VERSION_1", testFeature, []uint8{3, 11, 15}, 3},
		{"reset", virtio.FeatureVersion1, []uint8{3, 11, 15, 0}, 0},
		{"driver gives up", virtio.FeatureVersion1, []uint8{3, 0x83, 0x8b}, 0x83},
		{"NEEDS_RESET is not the driver's", virtio.FeatureVersion1, []uint8{0x43}, 3},
		{"reserved bits", virtio.FeatureVersion1, []uint8{0x33}, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.accept(tc.accept)
			for _, v := range tc.writes {
				r.setStatus(v)
			}
			if got := r.status(); got != tc.want {
				t.Errorf("status %#x, want %#x", got, tc.want)
			}
			if active := r.dev.active != nil; active != (tc.want == 15) {
				t.Errorf("device active: %v", active)
			}
		})
	}
}

func TestBadQueues(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		size                 uint16
		desc, driver, device uint64
		want                 string
	}{
		{"size 0", 0, 0x1000, 0x2000, 0x3000, "size 0"},
		{"size no power of two", 12, 0x1000, 0x2000, 0x3000, "size 12"},
		{"size too large", 32, 0x1000, 0x2000, 0x3000, "size 32"},
		{"descriptors unaligned", 16, 0x1008, 0x2000, 0x3000, "not aligned to 16"},
		{"available ring unaligned", 16, 0x1000, 0x2001, 0x3000, "not aligned to 2"},
		{"used ring unaligned", 16, 0x1000, 0x2000, 0x3002, "not aligned to 4"},
		{"descriptors out of memory", 16, testMemory - 0xf0, 0x2000, 0x3000, "descriptor table"},
		{"available ring out of memory", 16, 0x1000, testMemory - 36, 0x3000, "available ring"},
		{"used ring out of memory", 16, 0x1000, 0x2000, testMemory - 132, "used ring"},
		{"addresses wrap", 16, 0xffff_ffff_ffff_fff0, 0x2000, 0x3000, "outside guest memory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.enableMSIX()
			r.accept(virtio.FeatureVersion1)
			r.setStatus(11)
			r.setQueue(0, tc.size, tc.desc, tc.driver, tc.device)
			r.wantError(t, tc.want)
			if !drain(r.lines[0].fd) {
				t.Error("no configuration interrupt")
			}
			if r.read(regQueueEnable, 2) != 0 {
				t.Error("the queue is enabled")
			}
			r.setStatus(15)
			if r.dev.active != nil {
				t.Error("a device in error was activated")
			}
			r.bringUp()
			if r.tr.Err() != nil || r.dev.active == nil {
				t.Errorf("a reset did not help: %v", r.tr.Err())
			}
		})
	}
	t.Run("last fitting addresses", func(t *testing.T) {
		r := newRig(t)
		r.accept(virtio.FeatureVersion1)
		r.setStatus(11)
		r.setQueue(0, 16, testMemory-0x100, testMemory-38, testMemory-136)
		if r.read(regQueueEnable, 2) != 1 {
			t.Error(r.tr.Err())
		}
	})
}

func TestDeviceFails(t *testing.T) {
	r := newRig(t)
	r.enableMSIX()
	r.bringUp()
	old := r.dev.active.Fail
	old(errors.New("ring is nonsense"))
	old(errors.New("and again"))
	r.wantError(t, "ring is nonsense")
	if !drain(r.lines[0].fd) {
		t.Error("no configuration interrupt")
	}
	if r.read(isrOff, 1) != isrConfig || r.read(isrOff, 1) != 0 {
		t.Error("the ISR byte is wrong")
	}
	r.bringUp()
	old(errors.New("a late goroutine"))
	if r.tr.Err() != nil || r.status() != 15 {
		t.Errorf("a failure of an earlier life harms this one: %v", r.tr.Err())
	}

	r.dev.refuse = errors.New("no such file")
	r.setStatus(0)
	r.accept(virtio.FeatureVersion1)
	r.setStatus(15)
	if got := r.status(); got != 15|statusNeedsReset {
		t.Errorf("status %#x after a refused activation", got)
	}
	if err := r.tr.Err(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Err: %v", err)
	}
	r.setStatus(0)
	if r.dev.active != nil {
		t.Error("what Activate started before its error was not reset")
	}
}

func TestDeviceConfiguration(t *testing.T) {
	r := newRig(t)
	r.write(deviceOff+2, 2, 0xbeef)
	if got := r.read(deviceOff, 8); got != 0xbeef_0000 {
		t.Errorf("device configuration %#x", got)
	}
	if got := r.read(deviceOff+deviceSize-8, 8); got != 0 {
		t.Errorf("past the device's configuration: %#x", got)
	}
	r.enableMSIX()
	r.bringUp()
	gen := r.read(regGeneration, 1)
	r.dev.active.ConfigChanged()
	if got := r.read(regGeneration, 1); got == gen {
		t.Error("the generation did not change")
	}
	if !drain(r.lines[0].fd) || r.read(isrOff, 1) != isrConfig {
		t.Error("the driver was not told")
	}
}

func TestDataPath(t *testing.T) {
	r := newRig(t)
	r.bringUp()
	r.enableMSIX()
	for q := range testQueues {
		fd, ok := r.bells[r.bar+notifyOff+uint64(q)*notifyMultiplier]
		if !ok {
			t.Fatalf("queue %d has no doorbell", q)
		}
		if err := eventfd.Signal(fd); err != nil { // what KVM does
			t.Fatal(err)
		}
		await(t, r.lines[q+1].fd)
		if l := r.lines[q+1]; !l.open || l.message != (msixMessage{platform.LAPICBase, uint32(0x41 + q)}) {
			t.Errorf("queue %d interrupts with %+v", q, *l)
		}
		r.write(notifyOff+uint64(q)*notifyMultiplier, 2, uint64(q)) // without doorbell
		await(t, r.lines[q+1].fd)
	}
	r.write(notifyOff+testQueues*notifyMultiplier, 2, testQueues) // no such queue
}

func TestDoorbellsFollowTheBAR(t *testing.T) {
	r := newRig(t)
	if len(r.bells) != testQueues {
		t.Fatalf("%d doorbells with decoding on", len(r.bells))
	}
	r.config(4, 2, 0)
	if len(r.bells) != 0 {
		t.Errorf("%d doorbells with decoding off", len(r.bells))
	}
	r.config(0x14, 4, 0)
	r.config(0x10, 4, platform.PCIWindow32Base)
	r.config(4, 2, pci.CommandMemory)
	if _, ok := r.bells[platform.PCIWindow32Base+notifyOff]; !ok || len(r.bells) != testQueues {
		t.Errorf("doorbells %v", r.bells)
	}
	r.bar = platform.PCIWindow32Base
	r.bringUp()
}

func TestDoorbellError(t *testing.T) {
	r := newRig(t, func(r *rig, _ *Config) { r.noBell = errors.New("no space") })
	r.wantError(t, "doorbell")
}

func TestWindowInConfigurationSpace(t *testing.T) {
	r := newRig(t)
	at := r.bodyAt[capPCICfg]
	point := func(off, n uint32) {
		r.config(at+4, 1, 0)
		r.config(at+8, 4, off)
		r.config(at+12, 4, n)
	}
	point(regNumQueues, 2)
	if got := r.configRead(at+16, 4); got&0xffff != testQueues {
		t.Errorf("number of queues through the window: %#x", got)
	}
	point(regStatus, 1)
	r.config(at+16, 4, 3)
	if r.status() != 3 {
		t.Errorf("status %#x written through the window", r.status())
	}
	point(regStatus, 1)
	if got := r.configRead(at+16, 1); got != 3 {
		t.Errorf("status %#x read through the window", got)
	}
	r.config(at+16, 4, 0xdead_beef)
	for _, bad := range [][3]uint32{{1, 0, 4}, {0, barSize, 4}, {0, barSize - 2, 4}, {0, 1, 2}, {0, 0, 3}, {0, 0, 0}, {0, 0, 8}, {0, 0xffff_fffc, 4}} {
		r.config(at+4, 1, bad[0])
		r.config(at+12, 4, bad[2])
		r.config(at+8, 4, bad[1])
		r.config(at+16, 4, 0x1234_5678)
		if got := r.configRead(at+16, 4); got != 0x1234_5678 {
			t.Errorf("BAR %d, %#x+%d: something happened: %#x", bad[0], bad[1], bad[2], got)
		}
	}
	point(notifyOff, 2)
	r.bringUp()
	r.config(at+16, 2, 0)
	await(t, r.lines[1].fd)
}

func TestISRWithoutMSIX(t *testing.T) {
	r := newRig(t)
	r.bringUp()
	if err := eventfd.Signal(r.dev.active.Queues[1].CallFD); err != nil {
		t.Fatal(err)
	}
	r.dev.active.ConfigChanged()
	if got := r.read(isrOff, 1); got != isrQueue|isrConfig {
		t.Errorf("ISR %#x", got)
	}
	if got := r.read(isrOff, 1); got != 0 {
		t.Errorf("ISR %#x after it was read", got)
	}
}

func TestMSIXMasks(t *testing.T) {
	r := newRig(t)
	r.enableMSIX()
	r.bringUp() // resets the choice of entries
	if r.read(regConfigVector, 2) != noVector {
		t.Error("a reset leaves the choice of entries")
	}
	r.enableMSIX()
	l := r.lines[1] // of queue 0, entry 1
	control := r.bodyAt[0] + 2
	pending := func() bool { return r.read(pbaOff, 8)&2 != 0 }
	check := func(step string, open bool) {
		t.Helper()
		if l.open != open {
			t.Errorf("%s: vector open is %v", step, l.open)
		}
		drain(l.fd)
		if pending() {
			t.Errorf("%s: pending without a signal", step)
		}
		signal(l.fd)
		if pending() == open {
			t.Errorf("%s: pending bit is %v after a signal", step, pending())
		}
	}
	check("unmasked", true)
	r.write(r.entry(1)+12, 4, 1)
	check("entry masked", false)
	r.write(r.entry(1)+8, 4, 0x99)
	check("message of a masked entry", false)
	r.write(r.entry(1)+12, 4, 0)
	check("entry unmasked", true)
	if l.message.data != 0x99 {
		t.Errorf("message %#x", l.message.data)
	}
	r.config(control, 2, msixEnable|msixFunctionMask)
	check("function masked", false)
	r.config(control, 2, msixEnable)
	check("function unmasked", true)
	r.config(control, 2, 0)
	if l.open || pending() {
		t.Error("MSI-X off, and yet open or pending")
	}
	r.config(control, 2, msixEnable)
	check("MSI-X on again", true)

	r.choose(0)
	r.write(regQueueVector, 2, noVector)
	if l.open {
		t.Error("open without an entry")
	}
	signal(l.fd)
	r.write(regQueueVector, 2, 3)
	if l.open != true || l.message.data != 0x43 {
		t.Errorf("with entry 3: %+v", *l)
	}
	if drain(l.fd) {
		t.Error("a signal from the time without an entry arrives")
	}
	for _, v := range []uint64{testQueues + 1, 0x7fff} {
		r.write(regQueueVector, 2, v)
		if got := r.read(regQueueVector, 2); got != noVector {
			t.Errorf("entry %d, which is not there, reads back as %#x", v, got)
		}
	}
}

func TestMSIXTableAccess(t *testing.T) {
	r := newRig(t)
	if got := r.read(r.entry(0)+12, 4); got != 1 {
		t.Errorf("vector control %#x after reset", got)
	}
	r.write(r.entry(1), 8, ^uint64(0))
	r.write(r.entry(1)+8, 8, ^uint64(0))
	if lo, hi := r.read(r.entry(1), 8), r.read(r.entry(1)+8, 8); lo != ^uint64(3) || hi != 0x1_ffff_ffff {
		t.Errorf("entry reads %#x %#x", lo, hi)
	}
	before := r.read(r.entry(2), 8)
	r.write(r.entry(2), 1, 0x55)
	r.write(r.entry(2), 2, 0x55)
	r.write(r.entry(2)+2, 4, 0x55)
	r.write(r.entry(2)+4, 8, 0x55)
	if got := r.read(r.entry(2), 8); got != before {
		t.Errorf("an undefined access changed the entry to %#x", got)
	}
	r.write(r.entry(testQueues+1), 4, 0x55)
	if got := r.read(r.entry(testQueues+1), 4); got != 0 {
		t.Errorf("past the table: %#x", got)
	}
}

func TestBadMessageIsTheDevicesError(t *testing.T) {
	r := newRig(t)
	r.enableMSIX()
	r.bringUp()
	r.enableMSIX()
	r.write(r.entry(1), 8, 0x1000)
	r.wantError(t, "MSI-X entry 1")
	if r.lines[1].open || !r.lines[2].open {
		t.Error("the wrong vectors are open")
	}
}

func TestSaveRestore(t *testing.T) {
	from := newRig(t)
	from.enableMSIX()
	from.bringUp()
	from.enableMSIX()
	from.write(deviceOff, 4, 0x1234_5678)
	from.dev.active.ConfigChanged()
	from.write(from.entry(2)+12, 4, 1) // queue 1 masked, with a signal held back
	signal(from.lines[2].fd)
	used, err := from.dev.active.Memory.Slice(from.ring(1)+0x800+2, 2)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(used, 77)
	if _, err := from.tr.Save(); !errors.Is(err, errNotPaused) {
		t.Errorf("saved while running: %v", err)
	}
	if err := from.tr.Pause(); err != nil {
		t.Fatal(err)
	}
	if from.dev.active != nil || from.status() != 15 {
		t.Error("Pause did not stop the device, or showed it to the guest")
	}
	s, err := from.tr.Save()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	load := func() (s State) {
		if err := json.Unmarshal(blob, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}

	to := newRig(t)
	if err := to.root.Restore(from.root.Save()); err != nil {
		t.Fatal(err)
	}
	if err := to.tr.Restore(load()); err != nil {
		t.Fatal(err)
	}
	for off := uint64(0); off < barSize; off += 4 {
		if off != isrOff && from.read(off, 4) != to.read(off, 4) {
			t.Errorf("BAR %#x: %#x, was %#x", off, to.read(off, 4), from.read(off, 4))
		}
	}
	if to.dev.active != nil {
		t.Error("running before Resume")
	}
	if err := to.tr.Resume(); err != nil {
		t.Fatal(err)
	}
	if q := to.dev.active.Queues[1]; q.NextUsed != 77 || q.NextAvail != 77 || q.Desc != to.ring(1) {
		t.Errorf("queue 1 goes on with %+v", q)
	}
	for i, l := range to.lines {
		if l.open != (i != 2) {
			t.Errorf("vector %d: open %v", i, l.open)
		}
		await(t, l.fd) // one interrupt each
	}
	for q := range testQueues {
		to.dev.awaitKick(q) // and one kick each
	}
	if err := to.tr.Resume(); !errors.Is(err, errNotPaused) {
		t.Errorf("resumed twice: %v", err)
	}
	// The one that was saved may also go on.
	if err := from.tr.Resume(); err != nil || from.dev.active == nil {
		t.Errorf("resume after Save: %v", err)
	}

	for name, spoil := range map[string]func(*State){
		"version":         func(s *State) { s.Version++ },
		"features":        func(s *State) { s.Offered ^= 1 },
		"driver features": func(s *State) { s.DriverFeatures |= 1 },
		"queues":          func(s *State) { s.Queues = s.Queues[1:] },
		"table":           func(s *State) { s.MSIX = s.MSIX[1:] },
		"status":          func(s *State) { s.Status = statusDriverOK },
		"entry":           func(s *State) { s.Queues[0].Entry = testQueues + 1 },
		"ring":            func(s *State) { s.Queues[0].Desc = testMemory },
		"device":          func(s *State) { s.Device = json.RawMessage(`"?"`) },
	} {
		s := load()
		spoil(&s)
		if err := newRig(t).tr.Restore(s); err == nil {
			t.Errorf("%s: a spoilt state was taken", name)
		}
	}
}

func TestFailureIsSaved(t *testing.T) {
	from := newRig(t)
	from.bringUp()
	from.dev.active.Fail(errors.New("broken ring"))
	if err := from.tr.Pause(); err != nil {
		t.Fatal(err)
	}
	s, err := from.tr.Save()
	if err != nil {
		t.Fatal(err)
	}
	to := newRig(t)
	if err := errors.Join(to.tr.Restore(s), to.tr.Resume()); err != nil {
		t.Fatal(err)
	}
	if to.dev.active != nil || to.status() != 15|statusNeedsReset {
		t.Errorf("a device in error is active %v with status %#x", to.dev.active != nil, to.status())
	}
	if err := to.tr.Err(); err == nil || err.Error() != "broken ring" || len(to.failures()) != 0 {
		t.Errorf("error %v, reported again: %v", err, to.failures())
	}
}

func TestNewRefuses(t *testing.T) {
	noVectors := errors.New("no vectors")
	made := 0
	_, err := New(Config{Device: &mirror{}, NewVector: func() (Vector, error) {
		if made++; made == 3 {
			return (*line)(nil), noVectors
		}
		fd, err := eventfd.New()
		return &line{fd: fd}, err
	}})
	if !errors.Is(err, noVectors) || !strings.Contains(err.Error(), "queue 1") {
		t.Errorf("without vectors: %v", err)
	}
	vectors := func() (Vector, error) {
		fd, err := eventfd.New()
		return &line{fd: fd}, err
	}
	for name, sizes := range map[string][]uint16{
		"zero": {16, 0}, "three": {3}, "too many": make([]uint16, maxQueues+1),
	} {
		if _, err := New(Config{Device: sized{&mirror{}, sizes}, NewVector: vectors}); err == nil {
			t.Errorf("%s: a device with impossible queues was taken", name)
		}
	}
}

type sized struct {
	*mirror
	sizes []uint16
}

func (s sized) QueueSizes() []uint16 { return s.sizes }
