package work

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pageSize  = 4096
	walkBytes = 32 << 20
	// walkStride is a page and a cache line: each access needs a translation of its
	// own, and the lines spread over the cache's sets.
	walkStride = pageSize + 64
	// faultBytes is touched page by page and given back: small enough for any guest,
	// large enough that mapping it hardly counts.
	faultBytes = 8 << 20
)

// CPU measures what a processor takes for ordinary work, in nanoseconds an
// operation, each measure for about that time:
//
//	cpu.compute  a step of a loop of dependent multiplications, no memory
//	cpu.memory   a load in a walk over 32 MiB of small pages, a page a step
//	cpu.syscall  getppid, which does nothing in the kernel
//	cpu.fault    a first touch of a small page, its share of mapping and unmapping
//	cpu.switch   a byte to another process and back, by two pipes: two switches
//	cpu.fork     fork, exit of the child, wait
//
// All run on one processor, the first of those allowed. Fork copies the page
// tables of the calling process: compare processes of about the same size.
func CPU(window time.Duration) ([]Value, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	undo, err := pin()
	if err != nil {
		return nil, err
	}
	defer undo()
	walk, err := smallPages(walkBytes)
	if err != nil {
		return nil, err
	}
	touch(walk)
	var values []Value
	var errs []error
	take := func(c cost) {
		v, err := c.value(window)
		if err != nil {
			errs = append(errs, err)
			return
		}
		values = append(values, v)
	}
	take(cost{"cpu.compute", func(n int) error { sink = compute(sink, n); return nil }})
	take(cost{"cpu.memory", func(n int) error { sink += stride(walk, n); return nil }})
	// Given back before the others run: fork would copy its page tables.
	if err := unix.Munmap(walk); err != nil {
		return values, fmt.Errorf("cpu.memory: munmap: %w", err)
	}
	take(cost{"cpu.syscall", systemCalls})
	take(cost{"cpu.fault", faults})
	if err := switches(take); err != nil {
		errs = append(errs, err)
	}
	take(cost{"cpu.fork", forks})
	return values, errors.Join(errs...)
}

// sink takes results, so that the compiler leaves no work out.
var sink uint64 = 1

// compute makes n steps of a generator, each of which needs the one before.
//
//go:noinline
func compute(x uint64, n int) uint64 {
	for range n {
		x = x*6364136223846793005 + 1442695040888963407
		x ^= x >> 29
	}
	return x
}

// stride makes n loads, each on another page than the last.
//
//go:noinline
func stride(b []byte, n int) uint64 {
	var sum uint64
	at := 0
	for range n {
		sum += uint64(b[at])
		if at += walkStride; at >= len(b) {
			at -= len(b)
		}
	}
	return sum
}

func systemCalls(n int) error {
	for range n {
		// Raw: without Go's own work around a call.
		if _, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	return nil
}

// smallPages maps private memory without huge pages.
func smallPages(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap %d MiB: %w", size>>20, err)
	}
	// EINVAL is a kernel without huge pages, which is as well.
	if err := unix.Madvise(b, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, errors.Join(fmt.Errorf("madvise: %w", err), unix.Munmap(b))
	}
	return b, nil
}

// touch writes to each page.
func touch(b []byte) {
	for i := 0; i < len(b); i += pageSize {
		b[i] = 1
	}
}

func faults(n int) error {
	for n > 0 {
		pages := min(n, faultBytes/pageSize)
		b, err := smallPages(pages * pageSize)
		if err != nil {
			return err
		}
		touch(b)
		if err := unix.Munmap(b); err != nil {
			return fmt.Errorf("munmap: %w", err)
		}
		n -= pages
	}
	return nil
}

// switches starts the other process and takes the cost of a byte there and back.
func switches(take func(cost)) error {
	var there, back [2]int
	if err := unix.Pipe2(there[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cpu.switch: pipe: %w", err)
	}
	defer closeAll(there[:])
	if err := unix.Pipe2(back[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cpu.switch: pipe: %w", err)
	}
	defer closeAll(back[:])
	buf := new(byte)
	pid := forkEcho(there[0], back[1], buf)
	if pid < 0 {
		return fmt.Errorf("cpu.switch: fork: %w", unix.Errno(-pid))
	}
	take(cost{"cpu.switch", func(n int) error {
		if left := pingPong(back[0], there[1], buf, n); left > 0 {
			return fmt.Errorf("the pipe to the other process broke %d of %d bytes before the end", left, n)
		}
		return nil
	}})
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("cpu.switch: kill: %w", err)
	}
	_, err := wait(pid)
	return err
}

func forks(n int) error {
	for range n {
		if pid := forkAndWait(); pid < 0 {
			return fmt.Errorf("fork and wait: %w", unix.Errno(-pid))
		}
	}
	return nil
}

// wait waits for a child whose end raises no signal.
func wait(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		switch {
		case err == nil:
			return status, nil
		case !errors.Is(err, unix.EINTR):
			return status, fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // pipes: nothing is lost
	}
}

// pin binds the thread to the first processor that it may use. undo gives back the
// others.
func pin() (undo func(), err error) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("sched_setaffinity: %w", err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			fmt.Fprintln(os.Stderr, "work: the thread stays on one processor:", err)
		}
	}, nil
}
