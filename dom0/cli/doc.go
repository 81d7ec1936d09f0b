// Package cli is the gozen command of the admin host.
//
// Every command is a thin layer over one call of the management API
// (hypercalls/proto): it reads arguments, calls, and shows the answer, as a
// table for people or as the API's own JSON for programs (-o json). Main runs a
// command line and returns the exit code.
//
// The parts that need more than a call live in packages of their own: contexts
// (hosts and identities), failure (errors in words, exit codes), guestspec and
// quantity (what an admin types), table (what an admin reads), sparse (files with
// holes) and terminal (the raw terminal of a console).
package cli
