//go:build kvmhost

package uring

import "testing"

func init() { ringRequired = true }

// TestOnTheHostsKernel runs the tests again on the kernel that Gozen ships, which
// has to give rings.
func TestOnTheHostsKernel(t *testing.T) {
	t.Run("write then read", TestWriteThenRead)
	t.Run("errors", TestErrorsAreResults)
	t.Run("watch", TestWatch)
	t.Run("wake", TestWakeFromAnotherThread)
	t.Run("restrictions", TestRestrictions)
}
