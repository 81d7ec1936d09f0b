package vmmapi

import (
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestOutcome(t *testing.T) {
	want := &Outcome{Code: CodeReset, Message: "the guest asked for a reset", Stats: &Stats{VMMExits: map[string]uint64{"io": 3}}}
	f := newFile(t)
	if err := WriteOutcome(f, want); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := ReadOutcome(f)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("ReadOutcome = %+v, %v; want %+v", got, err, want)
	}
}

func TestReadOutcome(t *testing.T) {
	for _, tc := range []struct {
		name, in      string
		code, message string
	}{
		{"killed", "", "", ""},
		{"crashed", "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\n" + strings.Repeat("x\n", 100), CodeInternal, "index out of range"},
		{"crashed after its outcome", `{"code":"killed","message":"asked"}` + "\npanic: late\n", CodeKilled, "asked"},
		{"cut", `{"code":"killed","mess`, CodeInternal, "crashed"},
		{"JSON of something else", `{"x":1}`, CodeInternal, "crashed"},
		{"not text", "\xff\xfe\x00", CodeInternal, "crashed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := ReadOutcome(strings.NewReader(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if tc.code == "" {
				if o != nil {
					t.Fatalf("got %+v", o)
				}
				return
			}
			if o == nil || o.Code != tc.code || !strings.Contains(o.Message, tc.message) || strings.Count(o.Message, "\n") > maxCrashLines {
				t.Fatalf("got %+v, want %s with %q", o, tc.code, tc.message)
			}
		})
	}
}
