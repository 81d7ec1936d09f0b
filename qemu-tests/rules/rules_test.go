package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

type file struct {
	path    string // from the repository's root, with slashes
	imports []string
	ast     *ast.File
}

func sources(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var out []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || rel == "build" || rel == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		entry := file{path: rel, ast: f}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			entry.imports = append(entry.imports, name)
		}
		out = append(out, entry)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d Go files found: this test looks in the wrong place", len(out))
	}
	return out
}

// unsafe stands only in files named for it, so that a reader finds all of it.
func TestUnsafeHasItsFiles(t *testing.T) {
	for _, f := range sources(t) {
		for _, i := range f.imports {
			if i == "unsafe" && !strings.HasSuffix(f.path, "_unsafe.go") && !strings.HasSuffix(f.path, "_unsafe_test.go") && !strings.HasPrefix(f.path, "hypercalls/gen/") {
				t.Errorf("%s imports unsafe: move that to a file named *_unsafe.go", f.path)
			}
		}
	}
}

// allowed says what of ours each part may import, besides itself. What is not
// named here is outside the trusted base and may import everything.
var allowed = map[string][]string{
	"hypercalls": {},
	"pvdrivers":  {"hypercalls"},
	"hypervisor": {"pvdrivers", "hypercalls"},
	"dom0":       {"pvdrivers", "hypercalls", "hypervisor/vmmapi", "hypervisor/platform", "hypervisor/linuxboot"},
	"internal":   {},
}

func TestImportsRunOneWay(t *testing.T) {
	for _, f := range sources(t) {
		part, _, _ := strings.Cut(f.path, "/")
		may, ok := allowed[part]
		if !ok || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		for _, i := range f.imports {
			ours, ok := strings.CutPrefix(i, "gozen/")
			if !ok || within(ours, part) || within(ours, "internal") {
				continue
			}
			good := false
			for _, m := range may {
				good = good || within(ours, m)
			}
			if !good {
				t.Errorf("%s imports %s, which %s may not", f.path, i, part)
			}
		}
	}
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

func TestEveryPackageTellsItsStory(t *testing.T) {
	told := map[string]bool{}
	for _, f := range sources(t) {
		if strings.HasPrefix(f.path, "hypercalls/gen/") {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(f.path))
		told[dir] = told[dir] || f.ast.Doc != nil && !strings.HasSuffix(f.path, "_test.go")
	}
	for dir, ok := range told {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}
