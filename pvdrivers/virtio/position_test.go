package virtio

import "testing"

func TestPositions(t *testing.T) {
	two := Positions{{Avail: 3, Used: 2}, {Avail: 0xffff, Used: 0xfffe}}
	for _, c := range []struct {
		name        string
		at          Positions
		queue       int
		avail, used uint16
	}{
		{"first", two, 0, 3, 2},
		{"last", two, 1, 0xffff, 0xfffe},
		{"not a queue", two, 2, 0, 0},
		{"less than a queue", two, -1, 0, 0},
		{"never active", nil, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if avail, used := c.at.At(c.queue); avail != c.avail || used != c.used {
				t.Errorf("%d, %d, want %d, %d", avail, used, c.avail, c.used)
			}
		})
	}
}
