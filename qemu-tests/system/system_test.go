//go:build system

package system

import "testing"

// TestHost runs what can share one boot of the host. The order is from cheap to
// dear: the first failure should come early.
func TestHost(t *testing.T) {
	h := newHost(t, hostOptions{dataDisk: 1200 << 20, debug: true})
	for _, c := range []struct {
		name string
		test func(*testing.T, *host)
	}{
		{"Certificates", testCertificates},
		{"JSON", testJSON},
		{"Upload", func(t *testing.T, h *host) { h.prepare(t) }},
		{"CutUpload", testCutUpload},
		{"Refusals", testRefusals},
		{"BootExits", testBootExits},
		{"SmallGuest", testSmallGuest},
		{"TwoGuests", testTwoGuests},
		{"FourGuests", testFourGuests},
		{"Crashes", testCrashes},
		{"HostileRings", testHostileRings},
		{"KilledVMM", testKilledVMM},
		{"KilledDaemon", testKilledDaemon},
		{"Debian", testDebian},
		{"FullDisk", testFullDisk},
	} {
		t.Run(c.name, func(t *testing.T) {
			if h.dead() {
				t.Fatal("the host is gone")
			}
			c.test(t, h)
		})
	}
	h.shutdown(t)
}
