package abi

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

// moduleRoot is the module's directory, seen from this package's.
const moduleRoot = "../.."

// A check is a number of Go's and the C expression that has to have the same
// value.
type check struct {
	what string // for messages: where, and what it is
	got  uint64 // in Go
	expr string // in C
}

// goPackage is one package's source, parsed and type-checked as far as the
// interface needs.
type goPackage struct {
	dir   string // relative to the module
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// sizes are the Go compiler's rules.
var sizes = types.SizesFor("gc", "amd64")

// noImports stands for all imports: of those, interfaces are made of
// structs.HostLayout and one constant only.
type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, path[strings.LastIndex(path, "/")+1:])
	switch path {
	case "golang.org/x/sys/unix":
		p.Scope().Insert(types.NewConst(token.NoPos, p, "IFNAMSIZ", types.Typ[types.UntypedInt], constant.MakeInt64(unix.IFNAMSIZ)))
	case "structs":
		name := types.NewTypeName(token.NoPos, p, "HostLayout", nil)
		types.NewNamed(name, types.NewStruct(nil, nil), nil)
		p.Scope().Insert(name)
	}
	p.MarkComplete()
	return p, nil
}

func load(t *testing.T, dir string) *goPackage {
	t.Helper()
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "linux", "amd64", false
	bp, err := ctx.ImportDir(filepath.Join(moduleRoot, dir), 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &goPackage{dir: dir, fset: token.NewFileSet(), info: &types.Info{Defs: map[*ast.Ident]types.Object{}}}
	for _, name := range bp.GoFiles {
		f, err := parser.ParseFile(p.fset, filepath.Join(bp.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, f)
	}
	// Errors are about what noImports leaves out; a type or constant that could not
	// be resolved is noticed where it is used.
	conf := types.Config{Importer: noImports{}, Sizes: sizes, Error: func(error) {}}
	_, _ = conf.Check(dir, p.fset, p.files, p.info)
	return p
}

// where is a position for messages.
func (p *goPackage) where(pos token.Pos) string {
	at := p.fset.Position(pos)
	return fmt.Sprintf("%s/%s:%d", p.dir, filepath.Base(at.Filename), at.Line)
}

// directive returns the words after "abi:check", and whether it is there.
func directive(docs ...*ast.CommentGroup) (words []string, ok bool) {
	for _, doc := range docs {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if rest, found := strings.CutPrefix(c.Text, "//abi:check"); found {
				return strings.Fields(rest), true
			}
		}
	}
	return nil, false
}

// constValue returns the value of the constant that ident declares.
func (p *goPackage) constValue(ident *ast.Ident) (uint64, error) {
	c, ok := p.info.Defs[ident].(*types.Const)
	if !ok || c.Val().Kind() != constant.Int {
		return 0, fmt.Errorf("%s: %s is no integer constant that this test can work out", p.where(ident.Pos()), ident.Name)
	}
	if v, exact := constant.Uint64Val(c.Val()); exact {
		return v, nil
	}
	v, _ := constant.Int64Val(c.Val())
	return uint64(v), nil
}

// constants calls f for every constant that is declared at the top of a file.
func (p *goPackage) constants(f func(file string, decl *ast.GenDecl, spec *ast.ValueSpec, ident *ast.Ident)) {
	for _, file := range p.files {
		name := filepath.Base(p.fset.Position(file.Pos()).Filename)
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.ValueSpec)
				for _, ident := range spec.Names {
					if ident.Name != "_" {
						f(name, decl, spec, ident)
					}
				}
			}
		}
	}
}

// hostStruct is a struct type with structs.HostLayout.
type hostStruct struct {
	name  string
	pos   token.Pos
	words []string // after the directive
	typ   *types.Struct
}

// structs returns all structs with structs.HostLayout.
func (p *goPackage) structs() []hostStruct {
	var out []hostStruct
	for _, file := range p.files {
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.TypeSpec)
				obj := p.info.Defs[spec.Name]
				if obj == nil {
					continue
				}
				st, ok := obj.Type().Underlying().(*types.Struct)
				if !ok || !hasHostLayout(st) {
					continue
				}
				words, _ := directive(decl.Doc, spec.Doc)
				out = append(out, hostStruct{spec.Name.Name, spec.Pos(), words, st})
			}
		}
	}
	return out
}

func hasHostLayout(st *types.Struct) bool {
	for f := range st.Fields() {
		if n, ok := f.Type().(*types.Named); ok && n.Obj().Name() == "HostLayout" && n.Obj().Pkg().Path() == "structs" {
			return true
		}
	}
	return false
}

// structChecks compares a Go struct with "struct X" or, with a second name, the
// member of it that has this name. With prefix the C struct may go on after the
// Go struct. Rename maps Go's field names to C's.
func structChecks(where, goName string, st *types.Struct, cType, member string, prefix bool, rename map[string]string) []check {
	base, of := "0", "sizeof("+cType+")"
	path := func(f string) string { return f }
	if member != "" {
		base = fmt.Sprintf("__builtin_offsetof(%s, %s)", cType, member)
		of = fmt.Sprintf("sizeof(((%s *)0)->%s)", cType, member)
		path = func(f string) string { return member + "." + f }
	}
	var out []check
	var fields []*types.Var
	for f := range st.Fields() {
		fields = append(fields, f)
	}
	offsets := sizes.Offsetsof(fields)
	size := sizes.Sizeof(st)
	for i, f := range fields {
		if f.Name() == "_" {
			continue
		}
		tag := reflect.StructTag(st.Tag(i)).Get("abi")
		name := rename[f.Name()]
		switch {
		case tag == "flex":
			size = offsets[i] // C's sizeof leaves it out
			name = snake(f.Name())
		case tag != "":
			name = tag
		case name == "":
			name = snake(f.Name())
		}
		what := fmt.Sprintf("%s: %s.%s", where, goName, f.Name())
		out = append(out, check{"offset of " + what, uint64(offsets[i]), fmt.Sprintf("__builtin_offsetof(%s, %s) - %s", cType, path(name), base)})
		if tag != "flex" {
			out = append(out, check{"size of " + what, uint64(sizes.Sizeof(f.Type())), fmt.Sprintf("sizeof(((%s *)0)->%s)", cType, path(name))})
		}
	}
	if !prefix {
		out = append(out, check{fmt.Sprintf("size of %s: %s", where, goName), uint64(size), of})
	}
	return out
}

// snake turns GuestPhysAddr into guest_phys_addr and SIPIVector into sipi_vector.
func snake(s string) string {
	r := []rune(s)
	var b strings.Builder
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 {
			afterLower := !unicode.IsUpper(r[i-1]) && !unicode.IsDigit(r[i-1])
			beforeLower := i+1 < len(r) && unicode.IsLower(r[i+1])
			if afterLower || beforeLower {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{
		"Slot": "slot", "GuestPhysAddr": "guest_phys_addr", "RAX": "rax", "R15": "r15", "SIPIVector": "sipi_vector",
		"APICBase": "apic_base", "DirtyBitmap": "dirty_bitmap", "Padding1": "padding1", "KVMValidRegs": "kvm_valid_regs", "CR0": "cr0",
	} {
		if got := snake(in); got != want {
			t.Errorf("snake(%q) = %q, want %q", in, got, want)
		}
	}
}
