package block

import (
	"testing"

	"golang.org/x/sys/unix"
)

// onEngines runs a test once with an io_uring and once with workers. A kernel
// that gives no io_uring, as in many containers, leaves the first out of what
// `go test` does; in the emulated host, where ringRequired is set, it fails.
func onEngines(t *testing.T, test func(t *testing.T, engine Config)) {
	t.Run("ring", func(t *testing.T) {
		if d := newDevice(t, Config{FD: openFD(t, newFile(t, 8), unix.O_RDWR)}); len(d.engines) > 0 {
			test(t, Config{})
		} else if ringRequired {
			t.Fatal("the kernel gives no io_uring")
		}
	})
	t.Run("workers", func(t *testing.T) { test(t, Config{NoRing: true}) })
}
