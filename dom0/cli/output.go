package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gozen/dom0/cli/table"
	"gozen/dom0/quantity"
)

// Values of -o.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
)

// maxWidth is the width of a table on a terminal that is wider than that.
const maxWidth = 100

func (a *app) json() bool { return a.output == outputJSON }
func (a *app) wide() bool { return a.output == outputWide }

// printJSON writes a message in the API's own JSON. protojson varies its white
// space on purpose; encoding/json sets it anew, so the output is stable.
func (a *app) printJSON(m proto.Message) error {
	return a.writeJSON(m, func(b *bytes.Buffer, raw []byte) error { return json.Indent(b, raw, "", "  ") })
}

// printJSONLine writes a message on one line, for streams.
func (a *app) printJSONLine(m proto.Message) error {
	return a.writeJSON(m, json.Compact)
}

func (a *app) writeJSON(m proto.Message, layout func(*bytes.Buffer, []byte) error) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := layout(&b, raw); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = a.Out.Write(b.Bytes())
	return err
}

// printTable writes a table: shortened to fit a terminal, whole to anything else.
func (a *app) printTable(t *table.Table) error {
	width := 0
	if f, ok := a.Out.(*os.File); ok && !a.wide() {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = min(columns, maxWidth)
		}
	}
	return t.Write(a.Out, width)
}

// say writes a line for people about what was done; programs asked for JSON.
func (a *app) say(format string, args ...any) {
	if !a.json() {
		fmt.Fprintf(a.Out, format+"\n", args...)
	}
}

// note writes a line beside the output.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.Err, format+"\n", args...)
}

// sheet writes "label  value" lines, aligned. Lines without a value are left out.
type sheet struct {
	labels, values []string
}

func (s *sheet) add(label, format string, args ...any) {
	if value := fmt.Sprintf(format, args...); value != "" {
		s.labels, s.values = append(s.labels, label), append(s.values, value)
	}
}

// more adds a line below the last label.
func (s *sheet) more(format string, args ...any) {
	s.labels, s.values = append(s.labels, ""), append(s.values, fmt.Sprintf(format, args...))
}

// addAll adds a line for each item, the label before the first.
func (s *sheet) addAll(label string, values []string) {
	for i, v := range values {
		if i == 0 {
			s.add(label, "%s", v)
		} else {
			s.more("%s", v)
		}
	}
}

func (s *sheet) print(a *app) error {
	width := 0
	for _, l := range s.labels {
		width = max(width, len(l))
	}
	var b strings.Builder
	for i, l := range s.labels {
		fmt.Fprintf(&b, "%-*s  %s\n", width, l, printable(s.values[i]))
	}
	_, err := fmt.Fprint(a.Out, b.String())
	return err
}

// printable keeps text from a guest from steering the admin's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

// age writes how long ago a time was, "" when it is not set.
func age(t *timestamppb.Timestamp) string {
	if !t.IsValid() || t.AsTime().Unix() == 0 {
		return ""
	}
	return quantity.Age(now().Sub(t.AsTime()))
}

// moment writes a time and how long ago it was.
func moment(t *timestamppb.Timestamp) string {
	if !t.IsValid() || t.AsTime().Unix() == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", t.AsTime().Local().Format(time.DateTime), age(t))
}

// yesNo writes a truth.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// plural writes a count and its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// date writes a time, "" when it is not set.
func date(t *timestamppb.Timestamp) string {
	if !t.IsValid() || t.AsTime().Unix() == 0 {
		return ""
	}
	return t.AsTime().Local().Format(time.DateTime)
}
