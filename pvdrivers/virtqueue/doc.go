// Package virtqueue is the device's side of a split virtqueue (virtio 1.2,
// section 2.7).
//
// A virtqueue is three tables in guest memory. Who writes what:
//
//	descriptor table   driver   address, length, flags, next
//	available ring     driver   flags, idx, ring[size], used_event
//	used ring          device   flags, idx, ring[size] of {id, len}, avail_event
//
// The driver links descriptors into a chain, puts the head's number into the
// available ring, advances available idx and, if the device asks for it, rings
// the queue's kick eventfd. The device takes the chain (Pop), does its work, puts
// {head, bytes written} into the used ring (Push), and in Publish advances used
// idx and, if the driver asks for it, signals the call eventfd, which interrupts
// the guest.
//
// # Telling each other
//
// Either side can do without being told. Without VIRTIO_F_EVENT_IDX it sets a
// flag in its own ring; with it, it writes the index whose passing it wants to
// hear of (avail_event, used_event). Both are races of the same shape: one side
// publishes an index and then reads the other's wish, while the other writes its
// wish and then reads the index. Each must have a full barrier between its store
// and its load, else both can miss each other and the queue stands still for
// ever. Publish and Await have it (guestmem.StoreFence16).
//
// # A hostile driver
//
// All three tables may change at any moment under the device's hands. Every word
// is loaded once, and a descriptor is copied before it is looked at. Indices are
// taken modulo the ring, an available idx more than a ring ahead is an error,
// every address goes through guestmem, and a chain is at most as long as the
// device said when the queue was made, which ends loops as well. A driver that
// breaks the rules makes Pop return an *Error; the device then calls
// virtio.Activation.Fail and stops, and nothing else suffers.
//
// # Who may call what
//
// A Queue has two halves that share no state: taking (Pop, Unpop, Await) and
// giving back (Push, Publish). Each half is for one goroutine at a time; the two
// halves may run at once. Stop is safe from anywhere.
//
// No function on the request path allocates.
package virtqueue
