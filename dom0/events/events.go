package events

import (
	"context"
	"io"
	"sync"
	"time"

	"gozen/dom0/fault"
)

const (
	// Retained is how many events are kept.
	Retained = 1000
	// backlog is how many events a follower may lag behind.
	backlog = 256
)

// Event is something that happened to a guest.
type Event struct {
	Sequence   uint64 // counts from 1 since the daemon started
	Time       time.Time
	Guest      string
	Kind       string // "created", "running", …: the words of the API
	Message    string
	ReasonCode string
}

// Log keeps and hands out events. Its methods may be used from many goroutines.
type Log struct {
	now func() time.Time

	mu        sync.Mutex
	last      uint64
	retained  []Event // oldest first, at most Retained
	followers map[*Follower]struct{}
}

// NewLog returns an empty log that takes the time from now.
func NewLog(now func() time.Time) *Log {
	return &Log{now: now, followers: make(map[*Follower]struct{})}
}

// Add gives the event its sequence number and time and hands it out. It never
// waits for a follower.
func (l *Log) Add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.Sequence, e.Time = l.last, l.now()
	if len(l.retained) == Retained {
		copy(l.retained, l.retained[1:])
		l.retained = l.retained[:Retained-1]
	}
	l.retained = append(l.retained, e)
	for f := range l.followers {
		select {
		case f.c <- e:
		default:
			f.lagged = true
			delete(l.followers, f)
			close(f.c)
		}
	}
}

// Retained returns the events that are kept, oldest first.
func (l *Log) Retained() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Event(nil), l.retained...)
}

// Follow returns a follower of all events from now on, and those kept so far if
// replay is set, with no gap between the two. It must be closed.
func (l *Log) Follow(replay bool) *Follower {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &Follower{log: l, c: make(chan Event, backlog)}
	if replay {
		f.old = append(f.old, l.retained...)
	}
	l.followers[f] = struct{}{}
	return f
}

// Follower receives events. It is for one goroutine.
type Follower struct {
	log    *Log
	old    []Event
	c      chan Event
	lagged bool // written before c is closed
}

// Next waits for the next event. It ends with ctx's error, with a fault when the
// follower was too slow, or with io.EOF after Close.
func (f *Follower) Next(ctx context.Context) (Event, error) {
	if len(f.old) > 0 {
		e := f.old[0]
		f.old = f.old[1:]
		return e, nil
	}
	select {
	case <-ctx.Done():
		return Event{}, ctx.Err()
	case e, ok := <-f.c:
		if ok {
			return e, nil
		}
		if f.lagged {
			return Event{}, fault.New(fault.Aborted, "events: this follower fell more than %d events behind: follow again with replay", backlog)
		}
		return Event{}, io.EOF
	}
}

// Close ends the following.
func (f *Follower) Close() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	if _, ok := f.log.followers[f]; ok {
		delete(f.log.followers, f)
		close(f.c)
	}
}
