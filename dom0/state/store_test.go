package state

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type thing struct {
	Name string `json:"name"`
	N    int    `json:"n,omitempty"`
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t *testing.T, dir string) *Store[thing] {
	t.Helper()
	s, err := Open[thing](dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t *testing.T, s *Store[thing]) map[string]*thing {
	t.Helper()
	m, err := s.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPutLoadDelete(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "things")
	s := open(t, dir)
	for _, v := range []thing{{"a", 1}, {"b", 2}, {"a", 3}} {
		if err := s.Put(v.Name, &v); err != nil {
			t.Fatal(err)
		}
	}
	m := load(t, open(t, dir))
	if len(m) != 2 || *m["a"] != (thing{"a", 3}) || *m["b"] != (thing{"b", 2}) {
		t.Errorf("loaded %v", m)
	}
	for range 2 { // the second time there is nothing left to delete
		if err := s.Delete("a"); err != nil {
			t.Error(err)
		}
	}
	if m := load(t, s); len(m) != 1 {
		t.Errorf("after a deletion: %v", m)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v", entries, err)
	}
}

func TestRecordIsStable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put("a", &thing{"a", 1}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "a.json"))
	if err != nil || string(b) != "{\n\t\"name\": \"a\",\n\t\"n\": 1\n}\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBrokenRecordsAreMovedAway(t *testing.T) {
	for name, content := range map[string]string{
		"empty":    "",
		"cut":      `{"name":"x"`,
		"unknown":  `{"name":"x","colour":"blue"}`,
		"trailing": `{"name":"x"} {}`,
		"type":     `{"name":7}`,
		"refused":  `{"name":"refused"}`,
		"huge":     `{"name":"` + strings.Repeat("x", maxRecord) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "bad.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir)
			if err := s.Put("good", &thing{Name: "good"}); err != nil {
				t.Fatal(err)
			}
			m, err := s.Load(func(_ string, v *thing) error {
				if v.Name == "refused" {
					return errors.New("no")
				}
				return nil
			})
			if err != nil || len(m) != 1 || m["good"] == nil {
				t.Errorf("loaded %v, %v", m, err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("still there: %v", err)
			}
			moved, err := os.ReadDir(filepath.Join(dir, brokenDir))
			if err != nil || len(moved) != 1 {
				t.Fatalf("moved %v, %v", moved, err)
			}
			b, err := os.ReadFile(filepath.Join(dir, brokenDir, moved[0].Name()))
			if err != nil || string(b) != content {
				t.Errorf("moved content differs, %v", err)
			}
		})
	}
}

func TestInterruptedWriteIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put("a", &thing{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	rest := filepath.Join(dir, ".a.json123")
	if err := os.WriteFile(rest, []byte(`{"na`), 0o600); err != nil {
		t.Fatal(err)
	}
	if m := load(t, open(t, dir)); len(m) != 1 {
		t.Errorf("loaded %v", m)
	}
	if _, err := os.Stat(rest); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rest: %v", err)
	}
}

func TestFailedPutKeepsTheOldRecord(t *testing.T) {
	type odd struct{ C any }
	s, err := Open[odd](t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put("a", &odd{1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("a", &odd{func() {}}); err == nil {
		t.Error("a function was written")
	}
	if m, err := s.Load(nil); err != nil || fmt.Sprint(m["a"].C) != "1" {
		t.Errorf("%v, %v", m, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"a","n":1}`))
	f.Add([]byte(`{"name":"a"} x`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode[thing](b)
		if (v == nil) == (err == nil) {
			t.Errorf("%v, %v", v, err)
		}
	})
}
