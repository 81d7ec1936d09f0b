package virtio

// Positioner is implemented by devices that can say where they stopped in their
// rings, which is what a saved guest needs beside Device.Save.
type Positioner interface {
	// Position returns the next available and used index of a queue: what
	// Queue.NextAvail and Queue.NextUsed have to be for the device to go on. It is
	// valid from Reset to the next Activate; 0, 0 for a queue that was not in use.
	Position(queue int) (avail, used uint16)
}

// Positions are where a device stopped in its rings, by the number of the queue.
// A device sets them at Reset and answers Positioner's question with At.
type Positions []Position

// Position is the next available and used index of one queue.
type Position struct{ Avail, Used uint16 }

// At returns the position in a queue; 0, 0 for one that was not in use.
func (p Positions) At(queue int) (avail, used uint16) {
	if queue < 0 || queue >= len(p) {
		return 0, 0
	}
	return p[queue].Avail, p[queue].Used
}
