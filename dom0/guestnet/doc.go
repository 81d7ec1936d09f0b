// Package guestnet is the network that guests are plugged into: a bridge of the
// kernel with the host's address on it, a tap a guest, the firewall around it,
// and the DHCP server (dom0/dhcpd).
//
// The kernel is the truth. Open makes what is missing and leaves what is right
// alone, so that a daemon that starts again disturbs no guest: the taps belong
// to the vmm processes and stay on the bridge, the rules stay in place until
// they are replaced as a whole, and the leases are on disk.
package guestnet
