// Package failure turns errors into what the admin reads and what scripts test:
// a sentence that names the object, a hint what to do, and an exit code.
//
// Errors that came over the wire already say both (the host writes them), so
// only their exit code is found here. What went wrong before the host could
// answer (names, connections, certificates) is put into words here.
package failure
