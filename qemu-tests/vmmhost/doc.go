// Package vmmhost starts a vmm without dom0, for development and measurements: it
// opens what dom0 would open, hands it over, and connects to the guest's console
// and events. It needs root, or rights to /dev/kvm and the devices named. The vmm
// confines itself as always, but it runs as the caller's user and in its cgroup.
package vmmhost
