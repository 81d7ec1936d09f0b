// Package entropy is the virtio entropy device (virtio 1.2, section 5.4): the
// guest puts up buffers, the host fills them with random bytes.
//
// The bytes come from a descriptor of the host's generator, which gives as many
// as it is asked for; what is limited is how much of the host's time a guest may
// take for it. A token bucket holds up to a second's worth of bytes and fills by
// elapsed time, not by a clock's ticks, so that the promised rate is the rate. A
// request gets at most MaxRequest bytes, which the driver must cope with: it may
// be given less than it asked for.
//
// A guest that has used up its bytes waits on a timer that exists only then. A
// reset does not wait with it.
package entropy
