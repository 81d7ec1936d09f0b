package hostlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestKeepsTheEnd(t *testing.T) {
	b := New(10)
	var all strings.Builder
	for i := range 50 {
		line := fmt.Sprintf("%d.", i)
		all.WriteString(line)
		if n, err := b.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		data, next, _ := b.Read(0)
		want := all.String()
		want = want[max(0, len(want)-10):]
		if string(data) != want || next != uint64(all.Len()) {
			t.Fatalf("%q up to %d; want %q", data, next, want)
		}
	}
	if data, next, _ := b.Read(uint64(all.Len()) - 3); string(data) != "49." || next != uint64(all.Len()) {
		t.Errorf("%q up to %d", data, next)
	}
}

func TestFollow(t *testing.T) {
	b := New(100)
	_, _ = b.Write([]byte("old "))
	var got strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	err := b.Copy(ctx, true, func(p []byte) error {
		got.Write(p)
		switch got.String() {
		case "old ":
			go b.Write([]byte("new"))
		case "old new":
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || got.String() != "old new" {
		t.Errorf("%q, %v", got.String(), err)
	}
	stop := errors.New("stop")
	if err := b.Copy(t.Context(), false, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if err := b.Copy(t.Context(), false, func([]byte) error { return nil }); err != nil {
		t.Errorf("error %v", err)
	}
}
