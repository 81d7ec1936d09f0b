package virtio

// Positioner is implemented by devices that can say where they stopped in their
// rings, which is what a saved guest needs beside Device.Save.
type Positioner interface {
	// Position returns the next available and used index of a queue: what
	// Queue.NextAvail and Queue.NextUsed have to be for the device to go on. It is
	// valid from Reset to the next Activate; 0, 0 for a queue that was not in use.
	Position(queue int) (avail, used uint16)
}
