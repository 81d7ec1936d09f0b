// Package cgroup bounds what guests may use, with control groups version 2.
//
// Every vmm lives in a group of its own below one parent, "gozen.guests". It is
// created directly in its group, so no moment of its life is unaccounted. The
// group's limits hold for the guest's memory too, because the pages of a memfd
// are charged to the group that touches them first.
//
// See the kernel's Documentation/admin-guide/cgroup-v2.rst for the files.
package cgroup
