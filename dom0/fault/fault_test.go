package fault

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestKinds(t *testing.T) {
	err := New(NotFound, "volume %q: %w", "v", io.EOF)
	if err.Error() != `volume "v": EOF` || !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	for _, c := range []struct {
		err  error
		kind Kind
	}{
		{err, NotFound},
		{fmt.Errorf("guest: %w", err), NotFound},
		{New(Invalid, "outer: %w", err), Invalid},
		{io.EOF, Internal},
		{nil, Internal},
	} {
		if got := KindOf(c.err); got != c.kind {
			t.Errorf("%v: %v, want %v", c.err, got, c.kind)
		}
	}
	if TimedOut.String() != "timed out" || Kind(99).String() != "Kind(99)" {
		t.Errorf("%v, %v", TimedOut, Kind(99))
	}
}
