// Package depscheck keeps the trusted base small and honest: each program of it
// commits a list of every package it links, deps.txt beside its main package,
// and a test that fails when the list is no longer true. A change of the list
// is thereby seen, and judged, in review.
//
// The list has our own packages, those of other modules and the public ones of
// the standard library. The standard library's internal packages follow from
// the public ones and change with every release of Go, so they are left out.
package depscheck

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update-deps", false, "write deps.txt instead of comparing it")

// File is the name of the list, in the directory of the main package.
const File = "deps.txt"

// Check compares deps.txt in the current directory, which is the one of the
// package under test, with what that package links. With the test flag
// -update-deps it writes the file.
func Check(t *testing.T) {
	t.Helper()
	got, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(File, []byte(strings.Join(got, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(File)
	if err != nil {
		t.Fatalf("%v; write it with: go test -run Deps . -args -update-deps", err)
	}
	want := strings.Fields(string(b))
	added, gone := missing(got, want), missing(want, got)
	if len(added)+len(gone) > 0 {
		t.Errorf("the linked packages changed: added %v, gone %v\nIf this is meant, say why in the commit and run: go test -run Deps . -args -update-deps", added, gone)
	}
}

// list returns the linked packages in order.
func list() ([]string, error) {
	out, err := goList(`{{.ImportPath}} {{.Standard}}`)
	if err != nil {
		return nil, err
	}
	if err := note(); err != nil {
		return nil, err
	}
	return parse(out), nil
}

// note looks at the sources that the list follows from. The go command keeps the
// result of a test while its binary and the files it looked at stay the same, and
// what a program links need not show in its test's binary.
func note() error {
	out, err := goList(`{{if not .Standard}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}`)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		name := strings.TrimSpace(line)
		if name == "" {
			continue
		}
		if _, err := os.Stat(name); err != nil {
			return err
		}
	}
	return nil
}

func goList(format string) (string, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", format, ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w: %s", err, stderr.Bytes())
	}
	return string(out), nil
}

func parse(out string) []string {
	var pkgs []string
	for line := range strings.Lines(out) {
		path, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		if path == "" || standard == "true" && hidden(path) {
			continue
		}
		pkgs = append(pkgs, path)
	}
	slices.Sort(pkgs)
	return pkgs
}

// hidden says whether a package of the standard library is internal to it.
func hidden(path string) bool {
	for elem := range strings.SplitSeq(path, "/") {
		if elem == "internal" || elem == "vendor" {
			return true
		}
	}
	return false
}

// missing returns what is in a and not in b.
func missing(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}
