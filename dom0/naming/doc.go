// Package naming says what guests, volumes and images may be called.
//
// A guest's name is its host name too, so it is a DNS label: 1 to 63 characters
// of a-z, 0-9 and "-" that begin and end with a letter or digit. Volumes and
// images are files and may have A-Z, and inside ".", "_" and "+" as well, as in
// "vmlinuz-6.12.117+deb12-amd64".
package naming
