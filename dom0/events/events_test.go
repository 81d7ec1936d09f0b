package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"gozen/dom0/fault"
)

func newLog() *Log { return NewLog(func() time.Time { return time.Unix(7, 0) }) }

func TestReplayAndFollow(t *testing.T) {
	l := newLog()
	l.Add(Event{Guest: "a", Kind: "created"})
	f, late := l.Follow(true), l.Follow(false)
	defer f.Close()
	defer late.Close()
	l.Add(Event{Guest: "a", Kind: "deleted"})
	for _, c := range []struct {
		f    *Follower
		seqs []uint64
	}{{f, []uint64{1, 2}}, {late, []uint64{2}}} {
		for _, seq := range c.seqs {
			e, err := c.f.Next(t.Context())
			if err != nil || e.Sequence != seq || !e.Time.Equal(time.Unix(7, 0)) {
				t.Errorf("%+v, %v; want number %d", e, err, seq)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	f.Close()
	f.Close()
	if _, err := f.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
}

func TestOldEventsGo(t *testing.T) {
	l := newLog()
	for i := range Retained + 5 {
		l.Add(Event{Message: fmt.Sprint(i)})
	}
	r := l.Retained()
	if len(r) != Retained || r[0].Sequence != 6 || r[len(r)-1].Sequence != Retained+5 {
		t.Errorf("%d events from %d to %d", len(r), r[0].Sequence, r[len(r)-1].Sequence)
	}
}

func TestSlowFollowerIsDropped(t *testing.T) {
	l := newLog()
	f := l.Follow(false)
	defer f.Close()
	for range backlog + 1 {
		l.Add(Event{})
	}
	for range backlog {
		if _, err := f.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Next(t.Context()); fault.KindOf(err) != fault.Aborted {
		t.Errorf("error %v", err)
	}
}
