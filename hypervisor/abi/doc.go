// Package abi compares Gozen's picture of the kernel's interfaces with the
// kernel's own headers. It has tests only.
//
// Go has no C headers: struct layouts, ioctl numbers and constants of KVM, vhost
// and virtio are written by hand. A mistake there is a silent one: the kernel
// reads the wrong bytes. So the tests let gcc compile one C file with sizeof,
// offsetof and the value of everything that Gozen uses, against the uapi headers
// of the kernel that Gozen ships, and compare the numbers with those of the Go
// compiler's rules.
//
// What is compared:
//
//   - a Go struct whose comment has the line "//abi:check struct NAME": its size,
//     and offset and size of every field. A field is called in C what it is called
//     in Go, in lower case with underscores; the tag `abi:"name"` says otherwise,
//     `abi:"flex"` marks C's flexible array member. A second word names a member of
//     the C struct, for what C leaves without a name: "//abi:check struct kvm_run
//     io".
//   - a constant in a declaration with the line "//abi:check": the comment at its
//     end begins with its C name.
//   - what the tables in virtio_test.go name: the virtio devices' constants, which
//     are C expressions there.
//
// What is forgotten fails too: a struct with structs.HostLayout, an ioctl number,
// or a constant in one of the files that hold a device's interface, without a
// counterpart in C.
//
// The headers are those of Debian's linux-headers-6.12…-common, which `make
// kernel` unpacks; GOZEN_UAPI names another directory with include/uapi and
// arch/x86/include/uapi in it.
package abi
