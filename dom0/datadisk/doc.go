// Package datadisk makes the host's state live on a disk.
//
// The seed names the disk. If it holds the file system that Gozen made (XFS with
// the label "gozen-data") it is mounted at /data. If it is blank, and only then,
// and the seed allows it, the file system is made first. A disk with anything
// else on it is refused and left exactly as it is. Without a usable disk the
// host still comes up, with its state in memory, and says why.
//
// XFS because it clones files without copying them (reflink), which instant
// copies of volumes stand on. After a power cut it replays its log by itself
// when it is mounted.
package datadisk
