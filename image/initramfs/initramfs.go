package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/mkuimage/uimage/builder"
	uinitramfs "github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"

	"gozen/hypervisor/kernel"
)

// Spec says what goes into an archive.
type Spec struct {
	ModuleRoot string       // directory of Gozen's go.mod
	Programs   []string     // Go packages, each built to /bin/NAME
	Init       string       // name of the program that is /init
	Variables  string       // linker arguments that set variables: "-X package.name=value"
	Busybox    []string     // Go packages built into one program at /bbin/bb, each with a link
	Shell      string       // name of the command behind /bin/sh; "" for none
	Files      []string     // "HOST:GUEST"; a program brings its shared libraries
	Kernel     *kernel.Tree // where Modules come from
	Modules    []kernel.Module
	Records    []cpio.Record // further files
}

// Size is a part of an archive and its size in bytes before compression.
type Size struct {
	Part  string
	Bytes int64
}

// Build makes the archive, uncompressed, in the newc format. It calls the Go
// compiler; work is a directory for temporary files.
func Build(spec Spec, work string) (*cpio.Archive, []Size, error) {
	goroot, err := goRoot()
	if err != nil {
		return nil, nil, err
	}
	// The busybox builder changes directories.
	if work, err = filepath.Abs(work); err != nil {
		return nil, nil, fmt.Errorf("initramfs: %w", err)
	}
	base, err := cpio.ArchiveFromRecords(append(skeleton(), spec.Records...))
	if err != nil {
		return nil, nil, fmt.Errorf("initramfs: %w", err)
	}
	modules, err := moduleRecords(spec.Kernel, spec.Modules)
	if err != nil {
		return nil, nil, fmt.Errorf("initramfs: %w", err)
	}
	for _, r := range modules {
		if err := base.WriteRecord(r); err != nil {
			return nil, nil, fmt.Errorf("initramfs: %w", err)
		}
	}
	out := cpio.InMemArchive()
	mods := []uimage.Modifier{
		uimage.WithEnv(golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOARCH("amd64"),
			golang.WithGOROOT(goroot), golang.WithWorkingDir(spec.ModuleRoot),
			// u-root's shell without its line editor, which needs a library of its own.
			golang.WithBuildTag("goshsmall")),
		uimage.WithTempDir(work),
		uimage.WithBaseArchive(base),
		uimage.WithExistingInit(false),
		uimage.WithFiles(spec.Files...),
		uimage.WithOutput(memory{out}),
	}
	for _, p := range spec.Programs {
		// One builder a program: mkuimage would otherwise run the compilers at once,
		// each compiling the same dependencies.
		mods = append(mods, uimage.WithCommands(buildOpts(spec.Variables), builder.Binary, p))
	}
	if len(spec.Busybox) > 0 {
		mods = append(mods, uimage.WithCommands(buildOpts(""), builder.Busybox, spec.Busybox...))
	}
	if spec.Init != "" {
		mods = append(mods, uimage.WithInit(spec.Init))
	}
	if spec.Shell != "" {
		mods = append(mods, uimage.WithShell(spec.Shell))
	}
	if err := uimage.Create(llog.Default(), mods...); err != nil {
		return nil, nil, fmt.Errorf("initramfs: %w", err)
	}
	return out, sizes(out), nil
}

// buildOpts lets the compiler inline and use its cache, both of which mkuimage
// switches off: the programs are built often and run long. Symbols and the build
// identifier, which would differ from build to build, are left out.
func buildOpts(variables string) *golang.BuildOpts {
	return &golang.BuildOpts{EnableInlining: true, ExtraArgs: []string{
		"-a=false", "-buildvcs=false", "-ldflags=-s -w -buildid= " + variables}}
}

// goRoot asks the go command where it lives: with a toolchain that go.mod
// selected, that is not where the first go in PATH lives.
func goRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("initramfs: go env GOROOT: %w; is Go installed (make deps)?", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// memory is an output of mkuimage that collects records in an archive.
type memory struct{ archive *cpio.Archive }

// OpenWriter implements initramfs.WriteOpener.
func (m memory) OpenWriter() (uinitramfs.Writer, error) { return memoryWriter(m), nil }

type memoryWriter struct{ archive *cpio.Archive }

// WriteRecord reads the record's file now: it is a temporary one.
func (w memoryWriter) WriteRecord(r cpio.Record) error {
	if r.ReaderAt != nil {
		content, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		r.ReaderAt = bytes.NewReader(content)
	}
	return w.archive.WriteRecord(r)
}

// Finish leaves out the trailer: Write adds it.
func (memoryWriter) Finish() error { return nil }

// skeleton holds what exists before any program runs: mount points, and the two
// device files that the kernel and the Go runtime open first.
func skeleton() []cpio.Record {
	records := []cpio.Record{
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
	}
	for _, dir := range []string{"bin", "data", "dev", "etc", "etc/gozen", "lib", "proc", "root", "run", "sbin", "seed", "sys", "usr", "var", "var/empty"} {
		records = append(records, cpio.Directory(dir, 0o755))
	}
	return append(records, cpio.Directory("tmp", 0o1777))
}

// moduleRecords returns the modules of the list with all they depend on, their
// indexes, and the list of those to load at boot.
func moduleRecords(tree *kernel.Tree, list []kernel.Module) ([]cpio.Record, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var names []string
	var boot strings.Builder
	for _, m := range list {
		names = append(names, m.Name)
		if m.When == kernel.Boot {
			fmt.Fprintln(&boot, m.Name)
		}
	}
	files, err := tree.Closure(names)
	if err != nil {
		return nil, err
	}
	dir := "lib/modules/" + tree.Release
	dirs := map[string]bool{"lib": true, "lib/modules": true}
	var records []cpio.Record
	addDir := func(d string) {
		for ; !dirs[d]; d = filepath.Dir(d) {
			dirs[d] = true
			records = append(records, cpio.Directory(d, 0o755))
		}
	}
	for _, f := range files {
		addDir(dir + "/" + filepath.Dir(f.Path))
		records = append(records, cpio.StaticFile(dir+"/"+f.Path, string(f.Content), 0o644))
	}
	index := tree.NewIndex(files)
	return append(records,
		cpio.Directory("lib/modules", 0o755),
		cpio.StaticFile(dir+"/modules.dep", index.Dep, 0o644),
		cpio.StaticFile(dir+"/modules.alias", index.Alias, 0o644),
		cpio.StaticFile(dir+"/modules.softdep", index.Softdep, 0o644),
		cpio.StaticFile(dir+"/modules.builtin", index.Builtin, 0o644),
		cpio.StaticFile("etc/gozen/modules.load", boot.String(), 0o644),
	), nil
}

func sizes(a *cpio.Archive) []Size {
	var programs, modules, other int64
	for name, r := range a.Files {
		n := int64(r.FileSize)
		switch {
		case strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "bbin/"):
			programs += n
		case strings.HasPrefix(name, "lib/modules/"):
			modules += n
		default:
			other += n
		}
	}
	return []Size{{"programs", programs}, {"modules", modules}, {"mkfs and other files", other}}
}

// Write writes an archive in the newc format, as it is.
func Write(w io.Writer, a *cpio.Archive) error {
	if err := cpio.CopyAndFinish(cpio.Newc.Writer(w), a.Reader()); err != nil {
		return fmt.Errorf("initramfs: write: %w", err)
	}
	return nil
}

// archiveAlign is the alignment that the kernel wants of a following archive
// (init/initramfs.c looks for uncompressed ones at multiples of 4). It skips the
// zero bytes between.
const archiveAlign = 4

// WriteZstd writes an archive compressed for the kernel (CONFIG_RD_ZSTD), padded
// so that another archive may follow.
func WriteZstd(w io.Writer, a *cpio.Archive) error {
	counted := &counter{w: w}
	w = counted
	// One goroutine, so that the output does not depend on the number of CPUs.
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := Write(z, a); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("initramfs: compress: %w", err)
	}
	if _, err := w.Write(make([]byte, -counted.n&(archiveAlign-1))); err != nil {
		return fmt.Errorf("initramfs: write: %w", err)
	}
	return nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// WriteFile writes an archive to a file by rename, so that a cut build leaves
// no half of one. compress selects WriteZstd.
func WriteFile(name string, a *cpio.Archive, compress bool) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".initramfs-*")
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	write := Write
	if compress {
		write = WriteZstd
	}
	if err := write(f, a); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return os.Rename(f.Name(), name)
}
