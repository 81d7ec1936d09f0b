// Command testsum makes a test run readable and counts it.
//
//	go test -json ./... | testsum -stage unit -dir build/test
//	testsum -dir build/test -total unit,kvm,system
//
// The first form reads the stream of go test -json, prints a line a package and
// everything that failing tests said, keeps the counts in a file, and fails when a
// test failed or none ran. The second adds up the counts of the stages that are
// named, and fails when one is missing.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	stage := flag.String("stage", "", "`name` of the stage that is read from standard input")
	dir := flag.String("dir", "build/test", "`directory` that keeps the counts")
	total := flag.String("total", "", "`stages` to add up, separated by commas")
	flag.Parse()
	var err error
	switch {
	case *total != "":
		err = sum(os.Stdout, *dir, strings.Split(*total, ","))
	case *stage != "":
		err = read(os.Stdin, os.Stdout, *dir, *stage)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

// Counts are the tests of a stage, subtests included.
type Counts struct {
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped []string `json:"skipped,omitempty"` // names
}

func countsFile(dir, stage string) string { return filepath.Join(dir, stage+".json") }

func save(dir, stage string, c Counts) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(countsFile(dir, stage), append(text, '\n'), 0o644)
}
