// Package linuxboot starts Linux without firmware.
//
// Two kinds of kernel are taken. A bzImage, the compressed kernel that
// distributions ship, is entered at its 64-bit entry point (Linux's
// Documentation/arch/x86/boot.rst): the vmm does what its real-mode code would
// have done and hands over a "zero page" with the memory map, the command line,
// the initrd and the address of the ACPI tables. An uncompressed vmlinux is
// entered by PVH (Xen's docs/misc/pvh.pandoc): the ELF file names its entry in a
// note, and the same facts are handed over in an hvm_start_info.
//
// Inspect says what a file is, and why it is no kernel, without a guest; Load
// reads kernel and initrd straight into guest memory and says how the first
// vCPU starts. What a file says is checked before it is used: a hostile kernel
// file can at most give a guest that does not boot.
//
// Low guest memory at entry:
//
//	0x0_0000  zero (real-mode vectors, BIOS data: absent)
//	0x0_6000  hvm_start_info, its module list and memory map (PVH)
//	0x0_7000  zero page (bzImage)
//	0x0_8000  GDT
//	0x0_9000  page tables, identity map of the first 4 GiB (bzImage), 6 pages
//	0x2_0000  command line
//	0xa_0000  nothing
//	0xe_0000  ACPI tables, written by others; reserved in the memory map
//	0x10_0000 free for kernel and initrd
//
// The kernel has copied what it needs of all that before it uses the memory.
package linuxboot
