// Package efi makes a unified EFI file: one program that UEFI firmware starts
// and that holds kernel, initramfs and command line.
//
// Debian's systemd-boot-efi package has the program, called a stub. It finds
// what to boot in sections of its own file (the UAPI group's Unified Kernel Image
// specification); Join adds them. Since they are in the file, one signature
// covers everything that boots.
package efi
