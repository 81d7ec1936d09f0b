package abi

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// packages returns the directories with Go code below the given ones, relative to
// the module.
func packages(t *testing.T, roots ...string) []string {
	t.Helper()
	var out []string
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join(moduleRoot, root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if m, _ := filepath.Glob(filepath.Join(path, "*.go")); slices.ContainsFunc(m, func(f string) bool {
				return !strings.HasSuffix(f, "_test.go")
			}) {
				rel, err := filepath.Rel(moduleRoot, path)
				if err != nil {
					return err
				}
				out = append(out, rel)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

var cName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_]+$`)

// directiveChecks are the checks that a package's comments ask for.
func directiveChecks(t *testing.T, p *goPackage) []check {
	t.Helper()
	var out []check
	p.constants(func(_ string, decl *ast.GenDecl, spec *ast.ValueSpec, ident *ast.Ident) {
		if _, ok := directive(decl.Doc); !ok {
			return
		}
		name, _, _ := strings.Cut(strings.TrimSpace(spec.Comment.Text()), " ")
		name = strings.TrimRight(name, ",:;")
		if !cName.MatchString(name) {
			t.Errorf("%s: %s has no C name at the end of its line", p.where(ident.Pos()), ident.Name)
			return
		}
		v, err := p.constValue(ident)
		if err != nil {
			t.Error(err)
			return
		}
		out = append(out, check{fmt.Sprintf("%s: %s", p.where(ident.Pos()), ident.Name), v, name})
	})
	for _, s := range p.structs() {
		if len(s.words) < 2 || s.words[0] != "struct" {
			continue // tables may have it; TestNothingIsForgotten looks
		}
		member := ""
		if len(s.words) > 2 {
			member = s.words[2]
		}
		out = append(out, structChecks(p.where(s.pos), s.name, s.typ, "struct "+s.words[1], member, false, nil)...)
	}
	return out
}

// tableChecks are the checks of the tables in virtio_test.go.
func tableChecks(t *testing.T, p *goPackage) []check {
	t.Helper()
	table, ok := tables[p.dir]
	if !ok {
		return nil
	}
	var out []check
	found := map[string]bool{}
	p.constants(func(_ string, _ *ast.GenDecl, _ *ast.ValueSpec, ident *ast.Ident) {
		expr, ok := table.constants[ident.Name]
		if !ok {
			return
		}
		found[ident.Name] = true
		v, err := p.constValue(ident)
		if err != nil {
			t.Error(err)
			return
		}
		out = append(out, check{fmt.Sprintf("%s: %s", p.where(ident.Pos()), ident.Name), v, expr})
	})
	for _, s := range p.structs() {
		if c, ok := table.structs[s.name]; ok {
			found[s.name] = true
			out = append(out, structChecks(p.where(s.pos), s.name, s.typ, c.cType, "", c.prefix, c.rename)...)
		}
	}
	for name := range table.constants {
		if !found[name] {
			t.Errorf("%s has no constant %s any more: correct the table", p.dir, name)
		}
	}
	for name := range table.structs {
		if !found[name] {
			t.Errorf("%s has no struct %s any more: correct the table", p.dir, name)
		}
	}
	return out
}

func allChecks(t *testing.T) []check {
	t.Helper()
	var out []check
	for _, dir := range packages(t, "hypervisor", "pvdrivers") {
		p := load(t, dir)
		out = append(out, directiveChecks(t, p)...)
		out = append(out, tableChecks(t, p)...)
	}
	return out
}

// TestKernelInterfaces compares every struct and number with the kernel's
// headers.
func TestKernelInterfaces(t *testing.T) {
	checks := allChecks(t)
	if len(checks) < 500 {
		t.Errorf("only %d comparisons: the scan has lost something", len(checks))
	}
	for i, v := range compile(t, checks) {
		if c := checks[i]; c.got != v {
			t.Errorf("%s is %#x, in C %#x (%s)", c.what, c.got, v, c.expr)
		}
	}
	t.Logf("%d comparisons", len(checks))
}

// TestComparisonCanFail makes sure that a wrong number is noticed.
func TestComparisonCanFail(t *testing.T) {
	right := check{"KVM_RUN", 0xae80, "KVM_RUN"}
	wrong := check{"KVM_GET_REGS", 0xae81, "KVM_GET_REGS"}
	v := compile(t, []check{right, wrong})
	if v[0] != right.got || v[1] == wrong.got {
		t.Errorf("KVM_RUN is %#x and KVM_GET_REGS %#x", v[0], v[1])
	}
}

// TestNothingIsForgotten finds structs, ioctl numbers and constants of devices'
// interfaces that no check covers.
func TestNothingIsForgotten(t *testing.T) {
	for _, dir := range packages(t, "hypervisor", "pvdrivers", "dom0") {
		p := load(t, dir)
		table := tables[dir]
		for _, s := range p.structs() {
			if _, ok := table.structs[s.name]; !ok && len(s.words) < 2 {
				t.Errorf("%s: %s has structs.HostLayout but no comment \"//abi:check struct NAME\"", p.where(s.pos), s.name)
			}
		}
		checked := map[token.Pos]bool{} // literals inside checked declarations
		p.constants(func(file string, decl *ast.GenDecl, spec *ast.ValueSpec, ident *ast.Ident) {
			_, ok := directive(decl.Doc)
			if !ok {
				_, ok = table.constants[ident.Name]
			}
			if ok {
				for _, v := range spec.Values {
					ast.Inspect(v, func(n ast.Node) bool {
						if n != nil {
							checked[n.Pos()] = true
						}
						return true
					})
				}
				return
			}
			if slices.Contains(table.files, file) && !slices.Contains(table.own, ident.Name) {
				t.Errorf("%s: %s is neither compared with the kernel's headers nor named as our own: complete the table of %s",
					p.where(ident.Pos()), ident.Name, dir)
			}
		})
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if ok && lit.Kind == token.INT && !checked[lit.Pos()] && isIoctl(lit.Value) {
					t.Errorf("%s: %s looks like an ioctl number of KVM or vhost: make it a constant with \"//abi:check\"", p.where(lit.Pos()), lit.Value)
				}
				return true
			})
		}
	}
}

// isIoctl says whether a literal has the shape of an ioctl number of KVM (type
// 0xae) or vhost (0xaf): hexadecimal, that type in bits 8 to 15, and either no
// argument or the size and direction of one.
func isIoctl(literal string) bool {
	v, err := strconv.ParseUint(strings.ReplaceAll(literal, "_", ""), 0, 64)
	if err != nil || !strings.HasPrefix(literal, "0x") || v > 0xffff_ffff {
		return false
	}
	typ, rest := v>>8&0xff, v>>16
	return (typ == 0xae || typ == 0xaf) && (rest == 0 || rest>>14 != 0)
}

func TestIsIoctl(t *testing.T) {
	for literal, want := range map[string]bool{
		"0xae80": true, "0xaf01": true, "0x8090ae81": true, "0x4008_af00": true,
		"44672": false, "0xb080": false, "0x00af_9b00_0000_ffff": false, "0xae": false, "0x1af4": false,
	} {
		if isIoctl(literal) != want {
			t.Errorf("isIoctl(%s) is %v", literal, !want)
		}
	}
}
