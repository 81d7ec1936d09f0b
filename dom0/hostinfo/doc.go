// Package hostinfo reads what the host is and has from the kernel.
package hostinfo
