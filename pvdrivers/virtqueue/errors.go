package virtqueue

import (
	"errors"
	"fmt"
)

// What a driver can do wrong. Pop returns them inside an *Error.
var (
	ErrAvailJump     = errors.New("available index is more than a ring ahead")
	ErrHead          = errors.New("head descriptor is outside the table")
	ErrNext          = errors.New("next descriptor is outside the table")
	ErrTooLong       = errors.New("descriptor chain is too long or loops")
	ErrTooMany       = errors.New("descriptor chain of 4 GiB or more")
	ErrZeroLength    = errors.New("descriptor of zero length")
	ErrOrder         = errors.New("readable descriptor after a writable one")
	ErrIndirect      = errors.New("indirect descriptor without VIRTIO_F_INDIRECT_DESC")
	ErrNested        = errors.New("indirect descriptor in an indirect table")
	ErrIndirectNext  = errors.New("indirect descriptor with a next one")
	ErrIndirectTable = errors.New("indirect table's length is zero or no multiple of 16")
)

// Error is a breach of the ring protocol by the driver.
type Error struct {
	Queue int    // number of the queue in its device
	Index uint16 // position in the available ring
	Err   error  // one of the errors above, or guestmem.ErrOutOfRange wrapped
}

func (e *Error) Error() string {
	return fmt.Sprintf("virtqueue %d: available entry %d: %v", e.Queue, e.Index, e.Err)
}

// Unwrap returns what the driver did wrong.
func (e *Error) Unwrap() error { return e.Err }
