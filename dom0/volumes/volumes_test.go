package volumes

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gozen/dom0/fault"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func want(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v (kind %v); want kind %v and %q in it", err, fault.KindOf(err), kind, text)
	}
}

func TestCreateListDelete(t *testing.T) {
	s := open(t)
	v, err := s.Create("disk", 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if v.SizeBytes != 1<<40 || v.AllocatedBytes != 0 || v.CreatedAt.IsZero() || len(v.UsedBy) != 0 {
		t.Errorf("%+v", v)
	}
	_, err = s.Create("disk", 512)
	want(t, err, fault.Exists, "exists already")
	if _, err := s.Create("also", 512); err != nil {
		t.Fatal(err)
	}
	// What is no volume is not listed.
	if err := os.WriteFile(filepath.Join(s.dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := s.List()
	if err != nil || len(l) != 2 || l[0].Name != "also" || l[1].Name != "disk" {
		t.Errorf("%v, %v", l, err)
	}
	if err := s.Delete("disk"); err != nil {
		t.Error(err)
	}
	want(t, s.Delete("disk"), fault.NotFound, "there is none")
}

func TestBadNamesAndSizes(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		name string
		size uint64
		text string
	}{
		{"", 512, "missing"},
		{"../evil", 512, "use letters"},
		{".hidden", 512, "use letters"},
		{"a/b", 512, "use letters"},
		{strings.Repeat("a", 64), 512, "at most 63"},
		{"disk", 0, "needs a size"},
		{"disk", 513, "not a multiple"},
		{"disk", MaxSize + 512, "at most 16TiB"},
		{"disk", 1<<64 - 512, "at most 16TiB"},
	} {
		_, err := s.Create(c.name, c.size)
		want(t, err, fault.Invalid, c.text)
		_, err = s.Upload(c.name, c.size)
		want(t, err, fault.Invalid, c.text)
	}
	_, err := s.Get("../evil")
	want(t, err, fault.Invalid, "use letters")
	_, err = s.OpenFile(Use{Volume: "../evil"})
	want(t, err, fault.Invalid, "use letters")
}

func TestClaims(t *testing.T) {
	s := open(t)
	for _, name := range []string{"root", "data"} {
		if _, err := s.Create(name, 512); err != nil {
			t.Fatal(err)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ok(s.Claim("a", []Use{{"root", true}}))
	ok(s.Claim("b", []Use{{"root", true}, {"data", false}}))
	want(t, s.Claim("c", []Use{{"root", false}}), fault.Precondition, "reads it")
	want(t, s.Claim("c", []Use{{"root", true}, {"data", true}}), fault.Precondition, `guest "b", which writes it`)
	want(t, s.Claim("c", []Use{{"none", true}}), fault.NotFound, "there is none")
	want(t, s.Claim("c", []Use{{"root", true}, {"root", true}}), fault.Invalid, "two disks")
	if v, err := s.Get("root"); err != nil || strings.Join(v.UsedBy, " ") != "a b" {
		t.Errorf("%+v, %v", v, err) // a refused claim leaves nothing
	}
	want(t, s.Delete("data"), fault.Precondition, `used by guest "b"`)
	s.Release("b")
	ok(s.Claim("a", []Use{{"root", false}, {"data", false}}))
	s.Release("a")
	ok(s.Delete("data"))
}

func TestFileLocks(t *testing.T) {
	s := open(t)
	if _, err := s.Create("disk", 512); err != nil {
		t.Fatal(err)
	}
	must := func(u Use) *os.File {
		t.Helper()
		f, err := s.OpenFile(u)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	r1, r2 := must(Use{"disk", true}), must(Use{"disk", true})
	_, err := s.OpenFile(Use{"disk", false})
	want(t, err, fault.Precondition, "has it open")
	_ = r1.Close()
	_, err = s.OpenFile(Use{"disk", false})
	want(t, err, fault.Precondition, "has it open")
	_ = r2.Close()
	w := must(Use{"disk", false})
	defer w.Close()
	_, err = s.OpenFile(Use{"disk", true})
	want(t, err, fault.Precondition, "has it open")
	_, err = s.OpenFile(Use{"none", true})
	want(t, err, fault.NotFound, "there is none")
	if _, err := w.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestUpload(t *testing.T) {
	s := open(t)
	u, err := s.Upload("disk", 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Upload("disk", 1024)
	want(t, err, fault.Exists, "under way")
	_, err = s.Create("disk", 512)
	want(t, err, fault.Exists, "under way")
	_, err = s.Get("disk")
	want(t, err, fault.NotFound, "there is none")
	u.Abort()
	if u, err = s.Upload("disk", 1024); err != nil {
		t.Fatal(err)
	}
	defer u.Abort()
	sum := sha256.Sum256(make([]byte, 1024))
	v, err := u.Commit(sum[:])
	if err != nil || v.Name != "disk" || v.SizeBytes != 1024 {
		t.Errorf("%+v, %v", v, err)
	}
	_, err = s.Upload("disk", 1024)
	want(t, err, fault.Exists, "exists already")
}

func TestOpenRemovesCutUploads(t *testing.T) {
	s := open(t)
	u, err := s.Upload("disk", 1024)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Abort()
	if _, err := Open(s.dir); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
