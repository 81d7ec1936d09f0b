package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, stream, want, wantErr string
	}{
		{"all well", `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Elapsed":1.5}`, "unit tests: 2 passed, 0 failed\n", ""},
		{"a failure says why", `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`, "          a_test.go:7: wrong\n", "1 failed"},
		{"a package that does not build", `{"ImportPath":"p [p.test]","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`, "undefined: x", "1 failed"},
		{"a package that ends in the middle", `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"panic: oh\n"}
{"Action":"fail","Package":"p"}`, "panic: oh", "1 failed"},
		{"a skipped test is named", `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestB"}`, "1 skipped (p TestB)", ""},
		{"nothing ran", `{"Action":"pass","Package":"p"}`, "0 passed", "none ran"},
		{"other lines are shown", "go: downloading something\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"TestA\"}", "go: downloading something\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := read(strings.NewReader(c.stream), &out, t.TempDir(), "unit")
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("no %q in:\n%s", c.want, &out)
			}
			if got := errText(err); !strings.Contains(got, c.wantErr) || (c.wantErr == "") != (err == nil) {
				t.Errorf("got error %q, want %q", got, c.wantErr)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSum(t *testing.T) {
	dir := t.TempDir()
	if err := save(dir, "unit", Counts{Passed: 3}); err != nil {
		t.Fatal(err)
	}
	if err := save(dir, "kvm", Counts{Passed: 2, Failed: 1}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := sum(&out, dir, []string{"unit"}); err != nil || !strings.HasSuffix(out.String(), "\n3 passed, 0 failed\n") {
		t.Errorf("%v, %q", err, &out)
	}
	out.Reset()
	if err := sum(&out, dir, []string{"unit", "kvm"}); err == nil || !strings.Contains(out.String(), "unit 3, kvm 3\n5 passed, 1 failed\n") {
		t.Errorf("%v, %q", err, &out)
	}
	if err := sum(&out, dir, []string{"unit", "system"}); err == nil || !strings.Contains(err.Error(), "system tests did not run") {
		t.Errorf("a missing stage gave %v", err)
	}
	// A run that is cut leaves no count behind.
	if err := read(strings.NewReader("\x00"+strings.Repeat("x", 17<<20)), &out, dir, "unit"); err == nil {
		t.Error("a line of 17 MiB was read")
	}
	if _, err := os.Stat(countsFile(dir, "unit")); !os.IsNotExist(err) {
		t.Errorf("the count of the earlier run is still there (%v)", err)
	}
}
