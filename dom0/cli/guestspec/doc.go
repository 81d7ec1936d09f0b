// Package guestspec turns what an admin types into a guest's specification:
// --disk and --nic values, labels, restart policies, and whole specifications in
// JSON files, which are the API's own GuestSpec.
//
// It checks form only. What the host knows (which volumes there are, how much
// memory is free) the host checks.
package guestspec
