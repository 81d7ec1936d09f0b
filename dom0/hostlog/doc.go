// Package hostlog keeps the end of the host's own log in memory, for reading
// through the API.
package hostlog
