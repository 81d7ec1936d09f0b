// Package state keeps what must survive a power cut: one JSON file a record.
//
// A record is replaced whole. Its new content is written beside the old one and
// made durable, takes the old one's name in one step, and the directory is made
// durable too: after a power cut there is the old record or the new one.
//
// Records are read strictly. A file that cannot be read as a record is moved to
// the directory "broken" beside it, with a line in the log: one damaged record
// costs that record, not the host.
package state
