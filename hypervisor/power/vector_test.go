package power

import (
	"testing"

	"gozen/hypervisor/platform"
)

// The vector lies in the last 16 bytes below 1 MiB; what runs there writes the
// reset value to the reset port.
func TestResetVector(t *testing.T) {
	if len(ResetVector) > 1<<20-platform.ResetVector {
		t.Fatalf("%d bytes do not fit at %#x", len(ResetVector), platform.ResetVector)
	}
	port := int(ResetVector[1]) | int(ResetVector[2])<<8
	reset := false
	c := New(Config{Reset: func() { reset = true }})
	c.Write(uint64(port-Base), []byte{ResetVector[4]})
	if !reset {
		t.Errorf("port %#x, value %d: no reset", port, ResetVector[4])
	}
}
