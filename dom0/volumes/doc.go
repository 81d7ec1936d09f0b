// Package volumes keeps the virtual disks: sparse raw files, one a volume.
//
// The file is the volume's whole state. Its name, size and time of birth are
// the file's own, so there is nothing beside it that could disagree.
//
// Guests claim the volumes they name for as long as they exist: one guest may
// claim a volume for writing, or any number for reading. A claim is kept in
// memory, rebuilt from the guests' specs when the daemon starts. A volume
// that is opened is locked besides (an open file description lock, which goes
// along with the descriptor to the vmm), so that no mistake in the daemon's
// memory lets two writers on one disk.
package volumes
