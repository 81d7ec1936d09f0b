package undo

import (
	"slices"
	"testing"
)

func TestReverseOrderOnce(t *testing.T) {
	var s Stack
	var got []int
	for i := range 3 {
		s.Add(func() { got = append(got, i) })
	}
	s.Run()
	s.Run()
	if !slices.Equal(got, []int{2, 1, 0}) {
		t.Errorf("%v", got)
	}
	s.Add(func() { t.Error("released step was taken back") })
	s.Release()
	s.Run()
}
