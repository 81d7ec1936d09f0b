package virtqueue

import "gozen/pvdrivers/virtio"

// Positions returns where a device stopped in its queues, given in the order of
// their numbers, nil for one that is not in use. The device must not be at work
// on them.
func Positions(queues ...*Queue) virtio.Positions {
	at := make(virtio.Positions, len(queues))
	for i, q := range queues {
		if q != nil {
			at[i].Avail, at[i].Used = q.Position()
		}
	}
	return at
}

// Notifications returns the sums of Kicks and of Calls. A queue may be nil.
func Notifications(queues ...*Queue) (kicks, calls uint64) {
	for _, q := range queues {
		if q != nil {
			kicks += q.Kicks()
			calls += q.Calls()
		}
	}
	return kicks, calls
}
