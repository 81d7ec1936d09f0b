package uring

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// operations are those a ring is restricted to.
var operations = [...]uint8{opReadv, opWritev, opFsync, opPollAdd, opPollRemove}

// Ring is a pair of queues shared with the kernel. All methods are for the
// thread that made it.
type Ring struct {
	fd    int
	rings []byte // both queues' indices and the completions
	slots []byte // the submissions

	// The submission queue. The kernel moves the head.
	sqHead, sqTail *uint32
	submissions    []submission
	tail           uint32 // as the kernel will see it after the next Enter

	// The completion queue. The kernel moves the tail.
	cqHead, cqTail *uint32
	completions    []completion
}

// Completion is an operation that ended, or one event of a Watch.
type Completion struct {
	Tag    uint64 // given with the operation
	Result int32  // bytes moved, or an error's number negated
	More   bool   // of a Watch: it goes on
}

// New makes a ring for up to entries, a power of two, operations between two
// calls of Enter. The caller's goroutine has to be locked to its thread. At most
// workers threads of the kernel serve at once what would block. An error means
// that the kernel gives no such ring, because it is too old (before 6.1) or not
// willing to.
func New(entries, workers uint32) (_ *Ring, err error) {
	p := params{Flags: setupDisabled | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun}
	r := &Ring{}
	if r.fd, err = setup(entries, &p); err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	if want := uint32(featureSingleMmap | featureNoDrop); p.Features&want != want {
		return nil, fmt.Errorf("io_uring has the features %#x: want %#x", p.Features, want)
	}
	if err := r.mapQueues(&p); err != nil {
		return nil, err
	}
	var allowed [len(operations)]restriction
	for i, op := range operations {
		allowed[i] = restriction{Opcode: restrictionOp, SqeOp: op}
	}
	if err := r.restrict(allowed[:]); err != nil {
		return nil, fmt.Errorf("restrict io_uring: %w", err)
	}
	if err := r.limit(workers); err != nil {
		return nil, fmt.Errorf("limit io_uring's threads: %w", err)
	}
	if err := r.enable(); err != nil {
		return nil, fmt.Errorf("enable io_uring: %w", err)
	}
	return r, nil
}

// Readv reads into iovs from off on. The vector and its memory have to stay as
// they are, and be referred to elsewhere than from the stack, until the operation
// ended.
func (r *Ring) Readv(tag uint64, fd int, iovs []unix.Iovec, off int64) {
	s := r.vector(iovs)
	s.Opcode, s.Fd, s.Off, s.UserData = opReadv, int32(fd), uint64(off), tag
}

// Writev writes iovs from off on; flags are those of pwritev2 (RWF_…). What Readv
// says of the vector holds here too.
func (r *Ring) Writev(tag uint64, fd int, iovs []unix.Iovec, off int64, flags int) {
	s := r.vector(iovs)
	s.Opcode, s.Fd, s.Off, s.OpFlags, s.UserData = opWritev, int32(fd), uint64(off), uint32(flags), tag
}

// Datasync is fdatasync.
func (r *Ring) Datasync(tag uint64, fd int) {
	*r.slot() = submission{Opcode: opFsync, Fd: int32(fd), OpFlags: fsyncData, UserData: tag}
}

// Watch completes whenever fd becomes readable, and at once if it is. For an
// eventfd that is at every signal, whether it is drained or not. It ends with a
// completion that has More false.
func (r *Ring) Watch(tag uint64, fd int) {
	*r.slot() = submission{Opcode: opPollAdd, Fd: int32(fd), Len: pollMultishot, OpFlags: unix.POLLIN, UserData: tag}
}

// Unwatch ends the Watch that was tagged watch. Its own completion has an error
// if that could not be done and has to be tried again.
func (r *Ring) Unwatch(tag, watch uint64) {
	*r.slot() = submission{Opcode: opPollRemove, Fd: -1, Addr: watch, UserData: tag}
}

// slot returns the next free submission. That there is one is the caller's
// business: operations prepared since the last Enter that took everything, see
// Prepared, are at most as many as the ring was made for.
func (r *Ring) slot() *submission {
	if r.Prepared() == len(r.submissions) {
		panic("uring: more operations than the ring was made for")
	}
	s := &r.submissions[r.tail&uint32(len(r.submissions)-1)]
	r.tail++
	return s
}

// Prepared is the number of operations that the kernel has not taken yet.
func (r *Ring) Prepared() int { return int(r.tail - atomic.LoadUint32(r.sqHead)) }

// Enter hands the prepared operations to the kernel and, if wait is set, returns
// when there is a completion, or earlier: after a signal, or when the kernel took
// only some of the operations. Those are handed over again by the next call.
func (r *Ring) Enter(wait bool) error {
	// The store releases the submissions to the kernel.
	atomic.StoreUint32(r.sqTail, r.tail)
	atLeast := 0
	if wait {
		atLeast = 1
	}
	switch err := r.enter(r.Prepared(), atLeast); err {
	case nil, unix.EINTR, unix.EBUSY: // EBUSY: completions have to be taken first
		return nil
	case unix.EAGAIN:
		runtime.Gosched() // no memory for a request at the moment
		return nil
	default:
		return fmt.Errorf("io_uring_enter: %w", err)
	}
}

// Next takes a completion and returns false if there is none.
func (r *Ring) Next() (Completion, bool) {
	head := atomic.LoadUint32(r.cqHead)
	// The load acquires the completions up to the tail.
	if head == atomic.LoadUint32(r.cqTail) {
		return Completion{}, false
	}
	c := r.completions[head&uint32(len(r.completions)-1)]
	// The store gives the place back to the kernel.
	atomic.StoreUint32(r.cqHead, head+1)
	return Completion{Tag: c.UserData, Result: c.Res, More: c.Flags&completedMore != 0}, true
}

// Close gives the ring up. No read or write may be under way.
func (r *Ring) Close() error {
	var errs []error
	for _, m := range []*[]byte{&r.rings, &r.slots} {
		if *m != nil {
			errs = append(errs, unix.Munmap(*m))
			*m = nil
		}
	}
	if err := errors.Join(append(errs, unix.Close(r.fd))...); err != nil {
		return fmt.Errorf("close io_uring: %w", err)
	}
	return nil
}
