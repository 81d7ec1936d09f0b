// Command kvmhost runs tests that need /dev/kvm and root on a machine that has
// neither: it boots Debian's kernel in QEMU (with KVM where that works, else with
// software emulation, which offers AMD SVM), and runs inside it, one after another,
// the test binaries of the packages it is given, built with the tag kvmhost.
//
//	go run ./qemu-tests/kvmhost ./hypervisor/kvm ./hypervisor/vcpu
//	go run ./qemu-tests/kvmhost -json ./...             # test2json stream
//	go run ./qemu-tests/kvmhost -file kernel:/kernel -exec "./qemu-tests/vmmrun -kernel /kernel"
//
// With -exec the first word is a Go package, built and run with the other words as
// arguments. Packages without files tagged kvmhost are left out, so that ./... is
// cheap. The exit status is 0 only if every program ended well.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gozen/boot/qemu"
	"gozen/hypervisor/kernel"
)

type options struct {
	kernelDir string
	run       string
	files     list
	execs     list
	json      bool
	timeout   time.Duration
	memory    int
	cpus      int
	verbose   bool
}

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	var o options
	flag.StringVar(&o.kernelDir, "kernel", envOr("GOZEN_KERNEL_DIR", "build/kernel"), "unpacked kernel package, a `directory` as make kernel leaves it")
	flag.StringVar(&o.run, "run", "", "only tests matching `regexp`")
	flag.Var(&o.files, "file", "`host:guest` path of a file to take along (repeatable)")
	flag.Var(&o.execs, "exec", "`package arguments` of a program to run (repeatable)")
	flag.BoolVar(&o.json, "json", false, "print a test2json stream")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of the whole run")
	flag.IntVar(&o.memory, "memory", 3072, "of the emulated host, in `MiB`")
	flag.IntVar(&o.cpus, "cpus", 2, "of the emulated host")
	flag.BoolVar(&o.verbose, "v", false, "show the emulated host's kernel log")
	flag.Parse()
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "kvmhost:", err)
		os.Exit(1)
	}
}

func envOr(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

func run(o options, packages []string) error {
	dir, err := os.MkdirTemp("", "gozen-kvmhost-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	programs, err := buildAll(dir, o, packages)
	if err != nil {
		return err
	}
	if len(programs) == 0 {
		return errors.New("none of the packages has tests with the tag kvmhost")
	}
	tree, err := kernel.Open(o.kernelDir)
	if err != nil {
		return err
	}
	initrd := filepath.Join(dir, "initrd.cpio")
	if err := writeInitrd(initrd, dir, tree, programs, o.files); err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	return boot(o, dir, initrd, programs)
}

// A program is one line of the init's run list.
type program struct {
	name string   // package path
	args []string // args[0] is its path in the emulated host
	bin  string   // path on this machine
	test bool
}

type goPackage struct {
	ImportPath, Dir           string
	TestGoFiles, XTestGoFiles []string
	Module                    struct{ Path string }
}

// testPackages lists the packages that have test files only with the tag kvmhost.
func testPackages(patterns []string) ([]goPackage, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	with, err := goList(append([]string{"-tags", "kvmhost"}, patterns...))
	if err != nil {
		return nil, err
	}
	without, err := goList(patterns)
	if err != nil {
		return nil, err
	}
	plain := map[string]int{}
	for _, p := range without {
		plain[p.ImportPath] = len(p.TestGoFiles) + len(p.XTestGoFiles)
	}
	var out []goPackage
	for _, p := range with {
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > plain[p.ImportPath] {
			out = append(out, p)
		}
	}
	return out, nil
}

func goList(args []string) ([]goPackage, error) {
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var pkgs []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return pkgs, nil
		} else if err != nil {
			return nil, err
		}
		pkgs = append(pkgs, p)
	}
}

// kvmhostTests names the tests declared in files with the tag, so that tests
// which already ran on the build machine do not run again.
func kvmhostTests(p goPackage) (string, error) {
	var names []string
	for _, f := range append(p.TestGoFiles, p.XTestGoFiles...) {
		b, err := os.ReadFile(filepath.Join(p.Dir, f))
		if err != nil {
			return "", err
		}
		head, _, _ := strings.Cut(string(b), "\npackage ")
		if !strings.Contains(head, "//go:build kvmhost") {
			continue
		}
		for _, line := range strings.Split(string(b), "\n") {
			if rest, ok := strings.CutPrefix(line, "func Test"); ok {
				name, _, _ := strings.Cut(rest, "(")
				if name != "Main" {
					names = append(names, "Test"+name)
				}
			}
		}
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}

func buildAll(dir string, o options, packages []string) ([]program, error) {
	pkgs, err := testPackages(packages)
	if err != nil {
		return nil, err
	}
	var out []program
	for i, p := range pkgs {
		bin := filepath.Join(dir, fmt.Sprintf("test%d", i))
		if err := goBuild("test", "-c", "-tags", "kvmhost", "-ldflags", "-s -w", "-o", bin, p.ImportPath); err != nil {
			return nil, err
		}
		only := o.run
		if only == "" {
			if only, err = kvmhostTests(p); err != nil {
				return nil, err
			}
		}
		guest := "/tests/" + filepath.Base(bin)
		out = append(out, program{p.ImportPath, []string{guest, "-test.v=test2json", "-test.timeout=8m", "-test.run", only}, bin, true})
	}
	for i, e := range o.execs {
		words := strings.Fields(e)
		if len(words) == 0 {
			return nil, errors.New("-exec: no package named")
		}
		bin := filepath.Join(dir, fmt.Sprintf("exec%d", i))
		if err := goBuild("build", "-ldflags", "-s -w", "-o", bin, words[0]); err != nil {
			return nil, err
		}
		out = append(out, program{words[0], append([]string{"/tests/" + filepath.Base(bin)}, words[1:]...), bin, false})
	}
	return out, nil
}

func goBuild(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// boot runs the machine and passes its second serial port through parse.
func boot(o options, dir, initrd string, programs []program) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	console := filepath.Join(dir, "console.log")
	args := []string{
		"-M", "q35", "-m", fmt.Sprint(o.memory), "-smp", fmt.Sprint(o.cpus), "-nodefaults", "-no-reboot",
		"-display", "none", "-nic", "none", "-kernel", filepath.Join(o.kernelDir, "vmlinuz"), "-initrd", initrd,
		"-append", "console=ttyS0 loglevel=5 panic=-1 8250.nr_uarts=2 random.trust_cpu=on",
		"-serial", "file:" + console, "-serial", "stdio", "-device", "virtio-rng-pci",
	}
	args = append(args, qemu.DetectAccelerator().Arguments()...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the emulated host (is qemu-system-x86 installed?): %w", err)
	}
	ended, perr := parse(out, o.json)
	werr := cmd.Wait()
	if o.verbose || perr != nil || ended < len(programs) {
		b, _ := os.ReadFile(console)
		os.Stderr.Write(b)
	}
	switch {
	case perr != nil:
		return perr
	case ctx.Err() != nil:
		return fmt.Errorf("not finished after %v: %d of %d programs ran", o.timeout, ended, len(programs))
	case ended < len(programs):
		return fmt.Errorf("the emulated host ended early (%v): %d of %d programs ran", werr, ended, len(programs))
	}
	return nil
}

const marker = "\x16=== kvmhost "

// parse copies the programs' output, through test2json when asked to, and
// returns how many programs ended, with an error if any did not end well.
func parse(r io.Reader, asJSON bool) (ended int, err error) {
	br := bufio.NewReaderSize(r, 1<<20)
	var failed []string
	var sink io.WriteCloser = nopCloser{os.Stdout}
	var wait func()
	finish := func() {
		sink.Close()
		if wait != nil {
			wait()
		}
		sink, wait = nopCloser{os.Stdout}, nil
	}
	defer finish()
	for {
		line, rerr := br.ReadString('\n')
		switch rest, ok := strings.CutPrefix(line, marker); {
		case ok && strings.HasPrefix(rest, "begin "):
			name := strings.TrimSpace(strings.TrimPrefix(rest, "begin "))
			if asJSON {
				sink, wait = test2json(name)
			} else {
				fmt.Printf("--- %s\n", name)
			}
		case ok:
			words := strings.Fields(rest) // end NAME SECONDS STATUS…
			ended++
			finish()
			status := strings.Join(words[3:], " ")
			if status != "ok" {
				failed = append(failed, words[1]+": "+status)
			}
			if !asJSON {
				fmt.Printf("--- %s: %s (%s)\n", words[1], status, words[2])
			}
		case !asJSON:
			io.WriteString(sink, strings.ReplaceAll(line, "\x16", ""))
		default:
			io.WriteString(sink, line)
		}
		if rerr != nil {
			if len(failed) > 0 {
				return ended, fmt.Errorf("failed in the emulated host: %s", strings.Join(failed, "; "))
			}
			return ended, nil
		}
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func test2json(name string) (io.WriteCloser, func()) {
	cmd := exec.Command("go", "tool", "test2json", "-t", "-p", name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kvmhost: test2json:", err)
		return nopCloser{os.Stdout}, nil
	}
	return in, func() { _ = cmd.Wait() }
}
