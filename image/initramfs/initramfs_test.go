package initramfs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"

	"gozen/hypervisor/kernel"
)

func readArchive(t *testing.T, r io.ReaderAt) map[string]cpio.Record {
	t.Helper()
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(r))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]cpio.Record)
	for _, rec := range records {
		if _, twice := files[rec.Name]; twice {
			t.Errorf("%s is in the archive twice", rec.Name)
		}
		if dir := filepath.Dir(rec.Name); dir != "." {
			if _, ok := files[dir]; !ok {
				t.Errorf("%s comes before its directory", rec.Name)
			}
		}
		files[rec.Name] = rec
	}
	return files
}

func content(t *testing.T, r cpio.Record) string {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestBuild builds an archive with a small program, twice.
func TestBuild(t *testing.T) {
	tree, err := kernel.Open("../../build/kernel")
	if err != nil {
		t.Fatalf("%v (make kernel fetches it)", err)
	}
	extra := filepath.Join(t.TempDir(), "extra")
	if err := os.WriteFile(extra, []byte("an extra file"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := Spec{
		ModuleRoot: "../..",
		Programs:   []string{"gozen/scripts/testsum"},
		Init:       "testsum",
		Files:      []string{extra + ":etc/extra"},
		Kernel:     tree,
		Modules:    []kernel.Module{{Name: "xfs", When: kernel.Boot}, {Name: "e1000", When: kernel.Device}},
	}
	var archives [2]bytes.Buffer
	for i := range archives {
		archive, _, err := Build(spec, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(&archives[i], archive); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("building twice gives two different archives")
	}
	files := readArchive(t, bytes.NewReader(archives[0].Bytes()))
	modules := "lib/modules/" + tree.Release + "/"
	for name, want := range map[string]string{
		"etc/extra":              "an extra file",
		"etc/gozen/modules.load": "xfs\n",
		"init":                   "bin/testsum",
	} {
		if got := content(t, files[name]); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"bin/testsum", modules + "kernel/fs/xfs/xfs.ko", modules + "kernel/lib/libcrc32c.ko"} {
		if !strings.HasPrefix(content(t, files[name]), "\x7fELF") {
			t.Errorf("%s is missing or no ELF file", name)
		}
	}
	if !strings.Contains(content(t, files[modules+"modules.alias"]), " e1000\n") {
		t.Error("modules.alias lacks e1000's devices")
	}
	for name, r := range files {
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
			t.Errorf("%s has time %d, owner %d:%d", name, r.MTime, r.UID, r.GID)
		}
	}
}

func TestHostHasNoShellUnlessDebug(t *testing.T) {
	for _, debug := range []bool{false, true} {
		spec, err := Host("../..", nil, "1.2.3", debug)
		if err != nil {
			t.Fatal(err)
		}
		if has := spec.Shell != "" || len(spec.Busybox) > 0 || len(spec.Records) > 0; has != debug {
			t.Errorf("debug %v: shell %q, commands %v", debug, spec.Shell, spec.Busybox)
		}
	}
}

// TestSeedFollows checks that an archive with a seed may follow a compressed one
// at its end, whatever that one's length.
func TestSeedFollows(t *testing.T) {
	for n := range 5 {
		a, err := cpio.ArchiveFromRecords([]cpio.Record{cpio.StaticFile("f", strings.Repeat("x", n), 0o644)})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := WriteZstd(&out, a); err != nil {
			t.Fatal(err)
		}
		if out.Len()%archiveAlign != 0 {
			t.Errorf("a file of %d bytes gives an archive of %d, no multiple of %d", n, out.Len(), archiveAlign)
		}
		z, err := zstd.NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		// The padding is no frame of zstd: the kernel skips it, the library stops.
		plain, _ := io.ReadAll(z)
		z.Close()
		if got := content(t, readArchive(t, bytes.NewReader(plain))["f"]); got != strings.Repeat("x", n) {
			t.Errorf("f holds %q", got)
		}
	}
}

func TestWriteSeed(t *testing.T) {
	var out bytes.Buffer
	if err := WriteSeed(&out, []byte(`{"version":1}`)); err != nil {
		t.Fatal(err)
	}
	seed := readArchive(t, bytes.NewReader(out.Bytes()))[SeedPath]
	if got := content(t, seed); got != `{"version":1}` {
		t.Errorf("the seed is %q", got)
	}
	if mode := seed.Mode & 0o777; mode != 0o600 {
		t.Errorf("the seed may hold a private key and has mode %o", mode)
	}
}
