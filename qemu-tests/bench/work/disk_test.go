package work

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	report, err := os.ReadFile("testdata/fio-3.33.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseFio(append([]byte("fio: a warning before the report\n"), report...))
	if err != nil {
		t.Fatal(err)
	}
	values, err := r.values("disk.raw.")
	if err == nil || !strings.Contains(err.Error(), "3 of 9 jobs") {
		t.Errorf("error %v: the recorded run had 3 jobs", err)
	}
	checkValues(t, values, "disk.raw.randread.32", "disk.raw.write", "disk.raw.fsync")
	for i, want := range []float64{22131.736527, 500687778.0 / (1 << 20), (1007155.160584 + 2653089.09854) / 1000} {
		if got := values[i].Value; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s is %v, want %v", values[i].Measure, got, want)
		}
	}
}

func TestReportOfFailedJob(t *testing.T) {
	r, err := parseFio([]byte("{\n" + `"jobs": [{"jobname": "randread.1", "error": 5, "read": {"total_ios": 3}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	values, err := r.values("disk.file.")
	if len(values) > 0 || err == nil || !strings.Contains(err.Error(), "randread.1: error 5") {
		t.Errorf("%v, %v", values, err)
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte("{\n\"jobs\": [{\"jobname\": \"read\", \"read\": {\"total_ios\": 1}}]}"))
	f.Add([]byte("fio: no such device"))
	f.Fuzz(func(t *testing.T, out []byte) {
		r, err := parseFio(out)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if r != nil {
			_, _ = r.values("disk.file.") // must not panic
		}
	})
}

// program writes a script that stands for a program.
func program(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fio")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFioErrors(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, file, want string }{
		"no fio":    {"/nowhere/fio", disk, "install Debian's package fio"},
		"no disk":   {"/bin/sh", "/dev/nosuchdisk", "/dev/nosuchdisk"},
		"complains": {program(t, "echo >&2 shmget: not implemented; exit 1"), disk, "shmget: not implemented"},
		"no report": {program(t, "echo hello"), disk, "no report"},
	} {
		f := Fio{Path: c.path, Runtime: time.Second}
		if values, err := f.Disk("file", c.file); len(values) > 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %q", name, values, err, c.want)
		}
		if n, err := f.Count(c.file, 10); n != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d, %v; want %q", name, n, err, c.want)
		}
	}
	if _, err := (Fio{Path: "/bin/sh"}).Count(disk, 0); err == nil {
		t.Error("made 0 requests")
	}
}

// What fio could report counts, and what it could not is an error.
func TestCountKeepsReportOfFailedRun(t *testing.T) {
	text := "cat <<'E'\n{\n\"jobs\": [{\"jobname\": \"count\", \"error\": 0, \"read\": {\"total_ios\": 7}}]}\nE\nexit 1\n"
	n, err := Fio{Path: program(t, text)}.Count("/dev/null", 10)
	if n != 7 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}
