//go:build kvmhost

package block

import "testing"

func init() { ringRequired = true }

// TestOnTheHostsKernel runs tests again on the kernel that Gozen ships, which has
// to give rings.
func TestOnTheHostsKernel(t *testing.T) {
	t.Run("write then read", TestWriteThenRead)
	t.Run("many requests", TestManyRequestsAtOnce)
	t.Run("resets", TestResetWithRequestsUnderWay)
	t.Run("unanswerable", TestUnanswerableRequestsPutTheDeviceInError)
	t.Run("no space", TestNoSpace)
	t.Run("flush error", TestFlushError)
	t.Run("unaligned memory", TestUnalignedMemory)
}
