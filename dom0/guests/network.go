package guests

import (
	"net"
	"net/netip"
	"os"
)

// Network connects guests to the default network.
type Network interface {
	// OpenTap makes a tap of that name, joins it to the network and returns its
	// descriptor.
	OpenTap(name string, mac net.HardwareAddr) (*os.File, error)
	// RemoveTap removes a tap, if it is there.
	RemoveTap(name string) error
	// Lease returns the address that was given to the NIC.
	Lease(mac net.HardwareAddr) (netip.Addr, bool)
}
