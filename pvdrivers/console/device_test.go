package console

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/virtqueue/vqtest"
)

// record is a sink that keeps what it is given.
type record struct {
	mu   sync.Mutex
	data []byte
	err  error
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, p...)
	return len(p), r.err
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.data)
}

type rig struct {
	*testing.T
	dev    *Device
	out    record
	guest  *vqtest.Guest
	rx, tx *vqtest.Queue
	tr     *vqtest.Transport
}

func newRig(t *testing.T, features uint64) *rig {
	t.Helper()
	r := &rig{T: t, guest: vqtest.NewGuest(t, 1<<20)}
	var err error
	if r.dev, err = New(Config{Name: "virtio-console0", Output: &r.out, Columns: 80, Rows: 25}); err != nil {
		t.Fatal(err)
	}
	r.rx, r.tx = r.guest.NewQueue(queueSize, features), r.guest.NewQueue(queueSize, features)
	r.activate(features)
	t.Cleanup(func() {
		r.dev.Reset()
		if err := r.dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) activate(features uint64) {
	r.Helper()
	r.tr = r.guest.NewTransport(features, r.rx, r.tx)
	if err := r.dev.Activate(r.tr.Activation); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) print(s string) {
	r.Helper()
	r.tx.Do(vqtest.Buffer{Addr: r.guest.Put([]byte(s)), Len: uint32(len(s))})
}

// addReceive puts up a receive buffer of n bytes and returns its address.
func (r *rig) addReceive(n uint32) uint64 {
	r.Helper()
	addr := r.guest.Alloc(int(n))
	r.rx.Add(vqtest.Buffer{Addr: addr, Len: n, Writable: true})
	r.rx.Kick()
	return addr
}

func (r *rig) input(s string) {
	r.Helper()
	if n, err := r.dev.WriteInput(context.Background(), []byte(s)); n != len(s) || err != nil {
		r.Fatalf("WriteInput: %d, %v", n, err)
	}
}

func TestOutput(t *testing.T) {
	for _, features := range []uint64{0, virtio.FeatureEventIdx | virtio.FeatureIndirectDesc} {
		r := newRig(t, features)
		long := strings.Repeat("0123456789", 1000) // more than a piece for the sink
		r.print("Linux version\n")
		r.print(long)
		if got := r.out.String(); got != "Linux version\n"+long {
			t.Errorf("sink got %d bytes: %.40q", len(got), got)
		}
		if n := r.dev.Counters()["output_bytes"]; n != uint64(14+len(long)) {
			t.Errorf("output_bytes %d", n)
		}
	}
}

func TestOutputGoesOnWhenTheSinkFails(t *testing.T) {
	r := newRig(t, 0)
	r.out.mu.Lock()
	r.out.err = errors.New("no room")
	r.out.mu.Unlock()
	r.print("a")
	r.print("b")
	if r.out.String() != "ab" || r.dev.Counters()["sink_errors"] != 2 || r.tr.Err() != nil {
		t.Errorf("%q, %v, %v", r.out.String(), r.dev.Counters(), r.tr.Err())
	}
}

func TestInputBeforeAndAfterTheBuffer(t *testing.T) {
	for _, features := range []uint64{0, virtio.FeatureEventIdx} {
		r := newRig(t, features)
		r.input("early")
		addr := r.addReceive(16)
		if u := r.rx.WaitUsed(); u.Len != 5 || string(r.guest.Bytes(addr, 5)) != "early" {
			t.Errorf("used %d: %q", u.Len, r.guest.Bytes(addr, 5))
		}
		addr = r.addReceive(3)
		second := r.addReceive(16)
		r.input("later")
		if u := r.rx.WaitUsed(); u.Len != 3 || string(r.guest.Bytes(addr, 3)) != "lat" {
			t.Errorf("used %d: %q", u.Len, r.guest.Bytes(addr, 3))
		}
		if u := r.rx.WaitUsed(); u.Len != 2 || string(r.guest.Bytes(second, 2)) != "er" {
			t.Errorf("used %d: %q", u.Len, r.guest.Bytes(second, 2))
		}
	}
}

func TestInputIsBoundedAndNotLost(t *testing.T) {
	r := newRig(t, 0)
	sent := make([]byte, 2*InputCapacity+100)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	done := make(chan error)
	go func() {
		_, err := r.dev.WriteInput(context.Background(), sent)
		done <- err
	}()
	var got []byte
	buf := r.guest.Alloc(4096)
	for len(got) < len(sent) {
		if n := len(r.dev.in.queued()); n > InputCapacity {
			t.Fatalf("%d bytes queued", n)
		}
		u := r.rx.Do(vqtest.Buffer{Addr: buf, Len: 4096, Writable: true})
		got = append(got, r.guest.Bytes(buf, int(u.Len))...)
	}
	if err := <-done; err != nil || !bytes.Equal(got, sent) {
		t.Errorf("WriteInput: %v; equal %v", err, bytes.Equal(got, sent))
	}
}

func TestFullInputEndsWithItsContextAndWithTheDevice(t *testing.T) {
	r := newRig(t, 0)
	r.input(strings.Repeat("x", InputCapacity))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n, err := r.dev.WriteInput(ctx, []byte("y")); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %d, %v", n, err)
	}
	done := make(chan error)
	for range 2 {
		go func() {
			_, err := r.dev.WriteInput(context.Background(), []byte("y"))
			done <- err
		}()
	}
	r.dev.Reset()
	if err := r.dev.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}

func TestInputSurvivesAReset(t *testing.T) {
	r := newRig(t, 0)
	r.input("kept")
	r.dev.Reset()
	r.rx.Restart()
	r.tx.Restart()
	r.activate(0)
	addr := r.addReceive(16)
	if u := r.rx.WaitUsed(); string(r.guest.Bytes(addr, int(u.Len))) != "kept" {
		t.Errorf("got %q", r.guest.Bytes(addr, int(u.Len)))
	}
}

func TestResize(t *testing.T) {
	r := newRig(t, featureSize)
	r.dev.Resize(80, 25) // as it was
	r.dev.Resize(132, 43)
	<-r.tr.Changed()
	select {
	case <-r.tr.Changed():
		t.Error("a change was told that was none")
	default:
	}
	b := make([]byte, 16)
	r.dev.ReadConfig(0, b)
	if !bytes.Equal(b[:4], []byte{132, 0, 43, 0}) || !bytes.Equal(b[4:], make([]byte, 12)) {
		t.Errorf("config % x", b)
	}
	r.dev.ReadConfig(0xffffffff, b)
	if !bytes.Equal(b, make([]byte, 16)) {
		t.Errorf("config past its end % x", b)
	}
	r.dev.Reset()
	r.dev.Resize(1, 1)
	without := newRig(t, 0)
	without.dev.Resize(1, 1)
	for _, tr := range []*vqtest.Transport{r.tr, without.tr} {
		select {
		case <-tr.Changed():
			t.Error("told a driver that does not want to know")
		default:
		}
	}
}

func TestHostileChains(t *testing.T) {
	for name, breakIt := range map[string]func(*rig){
		"writable output": func(r *rig) {
			r.tx.Add(vqtest.Buffer{Addr: r.guest.Alloc(1), Len: 1, Writable: true})
			r.tx.Kick()
		},
		"readable input buffer": func(r *rig) {
			r.rx.Add(vqtest.Buffer{Addr: r.guest.Alloc(1), Len: 1})
			r.input("x")
			r.rx.Kick()
		},
		"outside memory": func(r *rig) {
			r.tx.Add(vqtest.Buffer{Addr: 1 << 60, Len: 1})
			r.tx.Kick()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 0)
			breakIt(r)
			<-r.tr.Failed()
		})
	}
}

func TestBadSetup(t *testing.T) {
	if _, err := New(Config{Name: "virtio-console0"}); err == nil {
		t.Error("a console without a sink")
	}
	d, err := New(Config{Name: "virtio-console0", Output: &record{}})
	if err != nil {
		t.Fatal(err)
	}
	g := vqtest.NewGuest(t, 1<<16)
	small, big := g.NewQueue(4, 0), g.NewQueue(2*queueSize, 0)
	misplaced := *small
	misplaced.Setup.Device = 1 << 50
	for name, queues := range map[string][]*vqtest.Queue{
		"queue too large": {small, big},
		"one queue more":  {small, small, small},
		"ring outside":    {small, &misplaced},
	} {
		if err := d.Activate(g.NewTransport(0, queues...).Activation); err == nil {
			t.Errorf("%s: accepted", name)
		}
		d.Reset()
	}
}

func TestSaveAndRestore(t *testing.T) {
	r := newRig(t, virtio.FeatureEventIdx)
	r.print("x")
	r.input("typed")
	r.dev.Resize(100, 30)
	r.dev.Reset()
	raw, err := r.dev.Save()
	if err != nil {
		t.Fatal(err)
	}
	next, err := New(Config{Name: "virtio-console0", Output: &r.out})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Restore(raw); err != nil {
		t.Fatal(err)
	}
	r.rx.Setup.NextAvail, r.rx.Setup.NextUsed = r.dev.Position(queueReceive)
	r.tx.Setup.NextAvail, r.tx.Setup.NextUsed = r.dev.Position(queueTransmit)
	if r.tx.Setup.NextAvail != 1 || r.tx.Setup.NextUsed != 1 {
		t.Errorf("position %+v", r.tx.Setup)
	}
	if err := r.dev.Close(); err != nil {
		t.Fatal(err)
	}
	r.dev = next
	r.activate(virtio.FeatureEventIdx)
	addr := r.addReceive(16)
	if u := r.rx.WaitUsed(); string(r.guest.Bytes(addr, int(u.Len))) != "typed" {
		t.Errorf("input after restore: %q", r.guest.Bytes(addr, int(u.Len)))
	}
	r.print("y")
	if got := r.out.String(); got != "xy" {
		t.Errorf("output %q", got)
	}
	b := make([]byte, 4)
	if next.ReadConfig(0, b); !bytes.Equal(b, []byte{100, 0, 30, 0}) {
		t.Errorf("config % x", b)
	}
	for _, bad := range []string{"", `{"version":9}`, `{"version":1,"input":"!"}`} {
		if next.Restore([]byte(bad)) == nil {
			t.Errorf("restored from %q", bad)
		}
	}
}
