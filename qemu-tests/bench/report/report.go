package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gozen/qemu-tests/bench/measure"
)

// Write makes the files of a run in dir, which it creates if needed: results.json
// (the run itself), report.txt, report.md and report.html. Each appears under its
// name whole or not at all. Samples that are no finite number cannot stand in
// results.json and are left out; the reports say how many.
func Write(dir string, run *measure.Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report: directory of the reports: %w", err)
	}
	m := build(measure.Catalogue, run)
	page, err := m.html()
	if err != nil {
		return err
	}
	kept := *run
	kept.Samples = nil
	for _, s := range run.Samples {
		if finite(s.Value) {
			kept.Samples = append(kept.Samples, s)
		}
	}
	results, err := json.MarshalIndent(kept, "", "\t")
	if err != nil {
		return fmt.Errorf("report: results.json: %w", err)
	}
	return errors.Join(
		writeFile(filepath.Join(dir, "results.json"), append(results, '\n')),
		writeFile(filepath.Join(dir, "report.txt"), []byte(m.text())),
		writeFile(filepath.Join(dir, "report.md"), []byte(m.markdown())),
		writeFile(filepath.Join(dir, "report.html"), page),
	)
}

// writeFile writes a file beside path and renames it. The mode of a file that was
// there is kept.
func writeFile(path string, data []byte) (err error) {
	mode := os.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("report: %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Chmod(mode); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
