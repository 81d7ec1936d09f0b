// Package disk makes Gozen's raw disk image: a GPT with one EFI system partition,
// to be written to a USB stick or a disk as it is.
//
//	/EFI/BOOT/BOOTX64.EFI   the unified EFI file, where firmware looks by itself
//	/gozen/seed.json        the seed, if one is given
//
// The partition is FAT, so any computer can put another seed on the stick.
package disk
