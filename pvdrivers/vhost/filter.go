package vhost

// Requests are the ioctl requests of this package: what a system call filter has
// to let through while a driver may set up and reset its device.
func Requests() []uint32 {
	return []uint32{
		ioctlGetFeatures, ioctlSetFeatures, ioctlSetOwner, ioctlSetMemTable,
		ioctlSetVringNum, ioctlSetVringAddr, ioctlSetVringBase, ioctlGetVringBase,
		ioctlSetVringKick, ioctlSetVringCall, ioctlSetVringErr,
		ioctlSetBackendFeatures, ioctlGetBackendFeatures,
		ioctlNetSetBackend, ioctlVsockSetGuestCID, ioctlVsockSetRunning,
	}
}
