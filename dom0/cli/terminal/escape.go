package terminal

import (
	"bytes"
	"fmt"
	"strings"
)

// NoEscape is the key of a console that cannot be left by a key.
const NoEscape = -1

// ParseEscape reads the name of an escape key: "^]" or "ctrl-]" (any control
// character), or "none".
func ParseEscape(s string) (key int, err error) {
	name := strings.ToLower(s)
	if name == "none" {
		return NoEscape, nil
	}
	for _, prefix := range []string{"ctrl-", "^"} {
		if c, ok := strings.CutPrefix(name, prefix); ok && len(c) == 1 {
			if k := strings.ToUpper(c)[0]; k > '@' && k <= '_' {
				return int(k - '@'), nil
			}
		}
	}
	return 0, fmt.Errorf("escape key %q: want a control character such as ctrl-] or ctrl-a, or none", s)
}

// EscapeName writes an escape key for people.
func EscapeName(key int) string {
	if key == NoEscape {
		return "none"
	}
	return "Ctrl-" + string(rune(key+'@'))
}

// Input cuts typed bytes at the escape key: what comes before goes to the guest.
func Input(typed []byte, key int) (data []byte, detach bool) {
	if key == NoEscape {
		return typed, false
	}
	if i := bytes.IndexByte(typed, byte(key)); i >= 0 {
		return typed[:i], true
	}
	return typed, false
}

// Finder looks for a text in a stream, across the borders of its pieces.
type Finder struct {
	text []byte
	tail []byte
}

// NewFinder returns a finder; an empty text is never found.
func NewFinder(text string) *Finder { return &Finder{text: []byte(text)} }

// Feed takes the next piece and tells whether the text is now complete.
func (f *Finder) Feed(data []byte) bool {
	if len(f.text) == 0 {
		return false
	}
	f.tail = append(f.tail, data...)
	if bytes.Contains(f.tail, f.text) {
		return true
	}
	if keep := len(f.text) - 1; len(f.tail) > keep {
		f.tail = append(f.tail[:0], f.tail[len(f.tail)-keep:]...)
	}
	return false
}
