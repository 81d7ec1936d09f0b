package depscheck

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	got := parse("internal/abi true\nruntime true\nvendor/golang.org/x/net/idna true\nencoding/json true\ngozen/internal/depscheck false\ngolang.org/x/sys/unix false\n\n")
	want := []string{"encoding/json", "golang.org/x/sys/unix", "gozen/internal/depscheck", "runtime"}
	if !slices.Equal(got, want) {
		t.Errorf("parse = %v, want %v", got, want)
	}
}

func TestMissing(t *testing.T) {
	if got := missing([]string{"a", "b", "c"}, []string{"b"}); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("missing = %v", got)
	}
}

// The list of this very package: itself, and what it imports, but no internals
// of the standard library.
func TestList(t *testing.T) {
	got, err := list()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gozen/internal/depscheck", "os/exec", "runtime"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in the list", want)
		}
	}
	if slices.Contains(got, "internal/abi") {
		t.Error("internal/abi is in the list")
	}
}
