// Package images keeps what guests start from: kernels and initial RAM disks.
//
// An image is two files, its content and a record of what it is. The content
// comes first and the record makes it exist, so that after a power cut there is
// a whole image or none. An uploaded kernel is looked at before that: what
// cannot be started is refused with the reason.
//
// Guests claim the images they name, as they do volumes; a claimed image is not
// deleted.
package images
