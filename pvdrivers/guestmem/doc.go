// Package guestmem is the one door to a guest's memory.
//
// Guest memory is one memfd, mapped shared, made of a few regions of guest-
// physical addresses. Whatever touches it goes through Memory, which checks
// every address and length and never hands out a slice that leaves a region.
// The guest may change any byte at any time: whoever needs a value twice loads
// it once into a local variable.
package guestmem
