// Package events tells followers what happens to guests.
//
// The last events are kept in memory. Followers get each event through a buffer
// of their own; one that does not keep up is dropped with an error, so that
// nobody's slowness holds up the host or another follower.
package events
