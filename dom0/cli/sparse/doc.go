// Package sparse reads files with holes so that only their data need travel.
//
// What is a hole comes from the file system (SEEK_DATA and SEEK_HOLE) where it
// knows, and from the data: runs of at least MinRun zero bytes are holes too. The
// SHA-256 runs over the whole content with holes as zeros, so it is that of the
// plain file.
package sparse
