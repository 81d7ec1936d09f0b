package seed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Parse reads a seed. Every error names the field and what is expected there.
func Parse(text []byte) (*Seed, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("seed: more than %d bytes; is this the right file?", MaxSize)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New(`seed: empty; the smallest seed is {"version": 1, "admin_ca_pem": "..."}`)
	}
	if err := checkKeys(text); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var s Seed
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("seed: %w", explain(err, text))
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return &s, nil
}

// explain turns an error of encoding/json into one that a person can act on.
func explain(err error, text []byte) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		return fmt.Errorf("line %d: not JSON: %w", line, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("the text ends in the middle; was the file copied whole?")
	case errors.As(err, &typ):
		field := typ.Field
		if field == "" {
			field = "top level"
		}
		return fmt.Errorf("%s: a %s stands where a %s is expected", field, typ.Value, typ.Type.Kind())
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("field %s is unknown; take it out or correct its name", name)
	}
	return err
}

// checkKeys refuses what encoding/json lets pass: a key given twice, a key in
// other letter case than documented, text after the document, and deep nesting.
func checkKeys(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := checkValue(dec, text, "", 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("text follows after the closing brace; a seed is one JSON object")
	}
	return nil
}

// maxDepth is one more than a seed needs.
const maxDepth = 4

func checkValue(dec *json.Decoder, text []byte, path string, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return explain(err, text)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		if depth == 0 {
			return errors.New("the top level must be an object: {...}")
		}
		return nil
	}
	if depth == 0 && delim != '{' {
		return errors.New("the top level must be an object: {...}")
	}
	if depth >= maxDepth {
		return fmt.Errorf("%s: nested too deeply", path)
	}
	seen := make(map[string]bool)
	for dec.More() {
		at := path
		if delim == '{' {
			tok, err := dec.Token()
			if err != nil {
				return explain(err, text)
			}
			key, _ := tok.(string)
			at = strings.TrimPrefix(path+"."+key, ".")
			if seen[key] {
				return fmt.Errorf("%s: given twice; keep one", at)
			}
			if key != strings.ToLower(key) {
				return fmt.Errorf("field %q is unknown; names are in lower case", at)
			}
			seen[key] = true
		}
		if err := checkValue(dec, text, at, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return explain(err, text)
	}
	return nil
}
