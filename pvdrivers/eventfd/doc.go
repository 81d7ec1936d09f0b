// Package eventfd waits for and signals the kernel's event counters, which
// carry a virtqueue's notifications: the guest's kick arrives through one
// (KVM's ioeventfd) and its interrupt leaves through another (irqfd).
//
// Waiting parks a goroutine in the runtime's network poller, so that an idle
// device holds no thread, and ends at once when the waiter is closed, so that a
// device can always be reset. Nothing here runs on a timer: a lost notification
// is a bug to be seen, not one to be papered over by polling.
package eventfd
