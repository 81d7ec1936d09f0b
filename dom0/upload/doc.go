// Package upload receives a file in pieces and lets it exist only when it is whole.
//
// The pieces go to a file with a temporary name. Offsets rise; what they skip
// stays a hole. Commit checks the SHA-256 of the whole, holes as zeros, makes
// the content durable and only then gives the file its name. An upload that
// ends in any other way leaves nothing, a power cut included: the temporary
// files of uploads that nobody will finish are removed when the daemon starts.
//
// An Inbox is a directory of such files. It keeps the names that uploads under
// way will take, so that no two are for the same.
package upload
