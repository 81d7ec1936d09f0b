// Package modules loads kernel modules: those that the host always needs, those
// that its devices ask for, and those that the kernel itself asks for.
//
// A Tree is what depmod wrote about one kernel's modules. Names and device
// aliases are looked up in it, dependencies are loaded first, and the kernel
// takes compressed modules as they are. Devices announce the driver they need by
// a modalias file in sysfs (Coldplug) and, when they appear later, by a uevent
// (Hotplug). The kernel asks by running /sbin/modprobe, which in Gozen is the
// init program under another name (Helper).
//
// The package links nothing beyond system calls, for it is part of PID 1. That
// is why it does not use a library: those that exist bring their own
// decompressors along and know no aliases.
package modules
