// Package netif finds and sets up network interfaces of the host by netlink.
package netif
