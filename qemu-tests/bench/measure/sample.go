package measure

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Sample is one value of one measure.
type Sample struct {
	Measure string `json:"m"` // name in the catalogue
	// Subject is the VMM: "gozen", "qemu-microvm", "qemu-q35", "gokvm", … or "host"
	// for the same program outside of a guest.
	Subject string  `json:"s"`
	Value   float64 `json:"v"` // in the measure's unit
	// Detail tells parts of one measure apart, as the reason of exits; "" is the
	// measure itself.
	Detail string `json:"d,omitempty"`
}

// Failure is a subject that could not run, or a part of it.
type Failure struct {
	Subject string `json:"s"`
	Part    string `json:"part"` // the group of measures, "" for all
	Why     string `json:"why"`
}

// Run is one run of the benchmark.
type Run struct {
	Date     time.Time         `json:"date"`
	Host     map[string]string `json:"host"`     // what the run was taken on: CPU, kernel, QEMU, …
	Subjects map[string]string `json:"subjects"` // subject and its version and how it was started
	Samples  []Sample          `json:"samples"`
	Failures []Failure         `json:"failures"`
}

// Prefixes of the lines by which samples travel over a console.
const (
	samplePrefix  = "@sample "
	failurePrefix = "@failure "
)

// Line is the sample as a line of console output, without a newline.
func (s Sample) Line() string { return line(samplePrefix, s) }

// Line is the failure as a line of console output, without a newline.
func (f Failure) Line() string { return line(failurePrefix, f) }

func line(prefix string, v any) string {
	b, err := json.Marshal(v)
	if err != nil { // a NaN or infinite value: nothing was measured
		return failurePrefix + fmt.Sprintf("{%q:%q}", "why", err.Error())
	}
	return prefix + string(b)
}

// ParseLine reads a line of console output into the run; ok says whether it was
// one of ours.
func (r *Run) ParseLine(s string) (ok bool, err error) {
	s = strings.TrimSpace(s)
	if rest, found := strings.CutPrefix(s, samplePrefix); found {
		var v Sample
		if err := json.Unmarshal([]byte(rest), &v); err != nil {
			return true, fmt.Errorf("measure: sample %q: %w", rest, err)
		}
		if _, known := Lookup(v.Measure); !known {
			return true, fmt.Errorf("measure: no measure %q in the catalogue", v.Measure)
		}
		r.Samples = append(r.Samples, v)
		return true, nil
	}
	if rest, found := strings.CutPrefix(s, failurePrefix); found {
		var v Failure
		if err := json.Unmarshal([]byte(rest), &v); err != nil {
			return true, fmt.Errorf("measure: failure %q: %w", rest, err)
		}
		r.Failures = append(r.Failures, v)
		return true, nil
	}
	return false, nil
}
