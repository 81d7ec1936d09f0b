package work

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gozen/qemu-tests/bench/measure"
)

// checkValues checks that there is a value for each measure, that the catalogue
// has it, and that it is one.
func checkValues(t *testing.T, values []Value, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for _, v := range values {
		if _, ok := measure.Lookup(v.Measure); !ok {
			t.Errorf("the catalogue has no %s", v.Measure)
		}
		if !(v.Value > 0) || math.IsInf(v.Value, 0) {
			t.Errorf("%s is %v", v.Measure, v.Value)
		}
		if got[v.Measure] {
			t.Errorf("%s is there twice", v.Measure)
		}
		got[v.Measure] = true
	}
	for _, name := range want {
		if !got[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if len(values) != len(want) {
		t.Errorf("%d values, want %d: %v", len(values), len(want), values)
	}
}

func TestCPU(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	values, err := CPU(4 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	checkValues(t, values, "cpu.compute", "cpu.memory", "cpu.syscall", "cpu.fault", "cpu.switch", "cpu.fork")
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Error("the thread is still bound to one processor")
	}
}

// No child is left, of those that raise no signal either.
func TestCPULeavesNoChild(t *testing.T) {
	if _, err := CPU(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("wait: process %d, %v; want no child", pid, err)
	}
}

func TestStrideVisitsPages(t *testing.T) {
	b := make([]byte, 4*walkStride)
	for i := range 4 {
		b[i*walkStride] = byte(1 << i)
	}
	if got := stride(b, 4); got != 15 {
		t.Errorf("4 steps saw %#b", got)
	}
	if got := stride(b, 6); got != 15+3 {
		t.Errorf("6 steps saw %d, want the first two places again", got)
	}
}

func TestPingPongOfBrokenPipe(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer closeAll(p[:])
	// The other end of the same pipe returns each byte: it needs no process.
	if left := pingPong(p[0], p[1], new(byte), 100); left != 0 {
		t.Errorf("%d of 100 left", left)
	}
	if left := pingPong(p[0], -1, new(byte), 5); left != 5 {
		t.Errorf("%d of 5 left on a closed descriptor", left)
	}
}

func TestBest(t *testing.T) {
	calls := 0
	slow := 20 * time.Microsecond
	ns, err := best(8*time.Millisecond, func(n int) error {
		calls++
		time.Sleep(time.Duration(n) * slow)
		return nil
	})
	if err != nil || ns < float64(slow) {
		t.Errorf("%v ns, %v: an operation takes %v", ns, err, slow)
	}
	if calls < 3 {
		t.Errorf("%d batches", calls)
	}
	broken := errors.New("broken")
	if _, err := (cost{"cpu.fork", func(int) error { return broken }}).value(time.Millisecond); !errors.Is(err, broken) || !strings.Contains(err.Error(), "cpu.fork") {
		t.Errorf("error %v", err)
	}
}

func TestTouch(t *testing.T) {
	if err := Touch(1); err != nil {
		t.Error(err)
	}
	for _, mib := range []int{0, -1, 1 << 30} {
		if Touch(mib) == nil {
			t.Errorf("touched %d MiB", mib)
		}
	}
}
