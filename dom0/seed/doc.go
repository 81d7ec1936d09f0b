// Package seed is what a host is told before anybody can talk to it: whom to
// obey, its name, its network and its data disk.
//
// A seed is a small JSON document. The admin's tools write it (Seed.Marshal),
// the host reads it once at boot (Load): from /seed/seed.json in the initramfs
// when the boot loader gave a second archive (nested or PXE boot), otherwise
// from /gozen/seed.json on an EFI system partition or on a partition labelled
// "gozen". It is never written by the host.
//
// Parse is strict: an unknown, repeated or malformed field is an error that
// names the field and says what is expected, because a typing error in the
// network section would otherwise show as a host that cannot be reached.
package seed
