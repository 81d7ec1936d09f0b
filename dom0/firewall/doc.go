// Package firewall keeps guests to what they may do on the host's network.
//
// It owns two nftables tables named "gozen". The one of family inet decides what
// guests may send to the host itself (DHCP and ping, not the management API),
// what is forwarded (out of the guests' network, and the answers; nothing else),
// and hides guests behind the host's address. The one of family bridge looks at
// frames as they enter the bridge: a guest sends with its own MAC address and
// with nobody else's, never as the host, and cannot pose as a DHCP server or
// router to others.
//
// Rules are made as data first (build.go), which is what the tests look at, and
// given to the kernel as a whole: each Apply replaces both tables in one
// transaction, so that there is no moment without them and no drift between what
// is wanted and what is there. The tables stay when the daemon ends.
package firewall
