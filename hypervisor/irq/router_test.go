package irq

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/platform"
)

// kernelModel does what KVM does with routes and eventfds, as far as a test can
// see it. The tests of the real one need /dev/kvm: router_kvmhost_test.go.
type kernelModel struct {
	mu       sync.Mutex
	routes   map[uint32]kvm.Route
	assigned map[int]uint32 // eventfd to interrupt number
	rewrites int
	fail     error
}

func newKernelModel() *kernelModel {
	return &kernelModel{routes: map[uint32]kvm.Route{}, assigned: map[int]uint32{}}
}

func (k *kernelModel) SetRouting(routes []kvm.Route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.rewrites++
	clear(k.routes)
	for _, r := range routes {
		if _, twice := k.routes[r.GSI]; twice || r.GSI < platform.IOAPICPins {
			return unix.EINVAL
		}
		k.routes[r.GSI] = r
	}
	return nil
}

func (k *kernelModel) AssignIRQFD(fd int, gsi uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	if _, busy := k.assigned[fd]; busy {
		return unix.EBUSY
	}
	k.assigned[fd] = gsi
	return nil
}

func (k *kernelModel) DeassignIRQFD(fd int, gsi uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.assigned[fd] != gsi {
		return unix.EINVAL
	}
	delete(k.assigned, fd)
	return nil
}

// message is what a signal of the vector would send now.
func (k *kernelModel) message(v *Vector) (kvm.Route, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	gsi, ok := k.assigned[v.FD()]
	r := k.routes[gsi]
	return r, ok && r.Addr != 0
}

func newVector(t *testing.T, r *Router) *Vector {
	t.Helper()
	v, err := r.NewVector()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const addr = 0xfee0_0000

func TestTableIsRewrittenOnlyOnChange(t *testing.T) {
	k := newKernelModel()
	r := NewRouter(k)
	a, b, c := newVector(t, r), newVector(t, r), newVector(t, r)
	for _, step := range []struct {
		what     string
		do       func() error
		rewrites int // in all
	}{
		{"first message", func() error { return a.Program(addr, 0x21) }, 1},
		{"the same again", func() error { return a.Program(addr, 0x21) }, 1},
		{"mask", a.Mask, 1},
		{"mask twice", a.Mask, 1},
		{"unmask with the same", func() error { return a.Program(addr, 0x21) }, 1},
		{"another message, unmasked", func() error { return a.Program(addr, 0x22) }, 2},
		{"noted while masked", func() error { b.Prepare(addr, 0x31); c.Prepare(addr, 0x32); return nil }, 2},
		{"goes along", func() error { return a.Program(addr|1<<12, 0x22) }, 3},
		{"is there already", func() error { return b.Program(addr, 0x31) }, 3},
		{"is there, too", func() error { return c.Program(addr, 0x32) }, 3},
	} {
		must(t, step.do())
		if k.rewrites != step.rewrites {
			t.Fatalf("%s: %d rewrites, want %d", step.what, k.rewrites, step.rewrites)
		}
	}
	for v, want := range map[*Vector]kvm.Route{
		a: {GSI: a.GSI(), Addr: addr | 1<<12, Data: 0x22},
		b: {GSI: b.GSI(), Addr: addr, Data: 0x31},
		c: {GSI: c.GSI(), Addr: addr, Data: 0x32},
	} {
		if got, ok := k.message(v); !ok || got != want {
			t.Errorf("vector sends %+v, want %+v", got, want)
		}
	}
}

func TestMaskedSignalIsPending(t *testing.T) {
	k := newKernelModel()
	r := NewRouter(k)
	v := newVector(t, r)
	if v.Pending() {
		t.Error("a new vector is pending")
	}
	v.signal()
	if !v.Pending() {
		t.Error("a signalled masked vector is not pending")
	}
	must(t, v.Program(addr, 0x21))
	if v.Pending() {
		t.Error("an unmasked vector is pending")
	}
	// The model does not take signals out, so the one signalled anew is still there.
	if !v.drain() {
		t.Error("unmasking lost the signal")
	}
	must(t, v.Mask())
	v.signal()
	must(t, v.Clear())
	if v.Pending() {
		t.Error("a cleared vector is pending")
	}
}

func TestMessageElsewhereMasks(t *testing.T) {
	k := newKernelModel()
	r := NewRouter(k)
	v := newVector(t, r)
	must(t, v.Program(addr, 0x21))
	for _, bad := range []uint64{0, 0xfed0_0000, 0xfef0_0000, 0x1_0000_0000 | addr, 0xff00_0000_fee0_0000} {
		if err := v.Program(bad, 0x21); !errors.Is(err, ErrMessage) {
			t.Errorf("address %#x: %v", bad, err)
		}
		if _, live := k.message(v); live {
			t.Errorf("address %#x: the vector is unmasked", bad)
		}
		v.Prepare(bad, 1)
	}
	must(t, v.Program(addr, 0x21))
	if k.rewrites != 1 {
		t.Errorf("%d rewrites: a refused message changed the table", k.rewrites)
	}
}

func TestKernelErrorsAreReported(t *testing.T) {
	k := newKernelModel()
	r := NewRouter(k)
	v := newVector(t, r)
	v.signal()
	k.fail = unix.ENOMEM
	if err := v.Program(addr, 0x21); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("Program: %v", err)
	}
	if !v.Pending() {
		t.Error("the signal was lost")
	}
	k.fail = nil
	must(t, v.Program(addr, 0x21))
	if _, live := k.message(v); !live {
		t.Error("the vector sends nothing")
	}
}

func TestNumbersAreReused(t *testing.T) {
	r := NewRouter(newKernelModel())
	var all []*Vector
	for {
		v, err := r.NewVector()
		if errors.Is(err, ErrNoVectors) || errors.Is(err, unix.EMFILE) {
			break
		}
		must(t, err)
		all = append(all, v)
		if len(all) == 100 {
			break
		}
	}
	gone := all[50].GSI()
	must(t, all[50].Program(addr, 0x99))
	must(t, all[50].Close())
	must(t, all[50].Close())
	if err := all[50].Program(addr, 1); err == nil {
		t.Error("a closed vector was programmed")
	}
	again, err := r.NewVector()
	must(t, err)
	if again.GSI() != gone {
		t.Errorf("interrupt %d, want %d again", again.GSI(), gone)
	}
	must(t, again.Program(addr, 0x21))
	if got, _ := r.kernel.(*kernelModel).message(again); got.Data != 0x21 {
		t.Errorf("the number's new owner sends %+v", got)
	}
	must(t, again.Close())
	for i, v := range all {
		if i != 50 {
			must(t, v.Close())
		}
	}
}

// Many devices at once: in the end the table is what each asked for last.
func TestConcurrentUse(t *testing.T) {
	k := newKernelModel()
	r := NewRouter(k)
	var wg sync.WaitGroup
	vectors := make([]*Vector, 8)
	for i := range vectors {
		vectors[i] = newVector(t, r)
		wg.Go(func() {
			v := vectors[i]
			for n := range uint32(200) {
				switch rand.IntN(5) {
				case 0:
					_ = v.Mask()
				case 1:
					v.Prepare(addr, n)
				case 2:
					v.Pending()
				case 3:
					v.signal()
				default:
					if err := v.Program(addr, n); err != nil {
						t.Error(err)
					}
				}
			}
			if err := v.Program(addr, uint32(1000+i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var got []uint32
	for _, v := range vectors {
		m, ok := k.message(v)
		if !ok {
			t.Error("a vector sends nothing")
		}
		got = append(got, m.Data)
	}
	if want := []uint32{1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}
