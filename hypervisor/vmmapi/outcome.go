package vmmapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// maxOutcomeBytes bounds what ReadOutcome believes to be an Outcome.
const maxOutcomeBytes = 1 << 20

// maxCrashLines is how much of a crashed vmm's last words goes into a message.
const maxCrashLines = 12

// WriteOutcome writes o at the start of f, in one write.
func WriteOutcome(f io.WriterAt, o *Outcome) error {
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode outcome: %w", err)
	}
	if _, err := f.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("write outcome: %w", err)
	}
	return nil
}

// ReadOutcome reads what a vmm left in its outcome file. Nothing at all is nil:
// the vmm was killed. What is no Outcome are the last words of a vmm that
// crashed (the Go runtime writes them there), which become an Outcome with
// CodeInternal.
func ReadOutcome(r io.Reader) (*Outcome, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxOutcomeBytes))
	if err != nil {
		return nil, fmt.Errorf("read outcome: %w", err)
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return nil, nil
	}
	o := new(Outcome)
	// A Decoder, since a crash after the Outcome was written leaves both.
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(o); err == nil && o.Code != "" {
		return o, nil
	}
	lines := strings.SplitN(strings.ToValidUTF8(string(b), "?"), "\n", maxCrashLines+1)
	return &Outcome{Code: CodeInternal, Message: "the vmm crashed: " + strings.Join(lines[:min(len(lines), maxCrashLines)], "\n")}, nil
}
