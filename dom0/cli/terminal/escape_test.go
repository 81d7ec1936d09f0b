package terminal

import "testing"

func TestParseEscape(t *testing.T) {
	for in, want := range map[string]int{"^]": 0x1d, "ctrl-]": 0x1d, "Ctrl-A": 1, "^a": 1, "^_": 0x1f, "ctrl-\\": 0x1c, "none": NoEscape} {
		if got, err := ParseEscape(in); err != nil || got != want {
			t.Errorf("ParseEscape(%q) = %#x, %v; want %#x", in, got, err, want)
		}
	}
	for _, in := range []string{"", "a", "^", "^1", "^@", "ctrl-", "ctrl-ab", "^ä"} {
		if got, err := ParseEscape(in); err == nil {
			t.Errorf("ParseEscape(%q) = %#x; want an error", in, got)
		}
	}
	if got := EscapeName(0x1d); got != "Ctrl-]" {
		t.Errorf("EscapeName: %q", got)
	}
}

func TestInput(t *testing.T) {
	for _, c := range []struct {
		typed  string
		key    int
		data   string
		detach bool
	}{
		{"ls\r", 0x1d, "ls\r", false},
		{"ls\x1dmore", 0x1d, "ls", true},
		{"\x1d", 0x1d, "", true},
		{"ls\x1dmore", NoEscape, "ls\x1dmore", false},
		{"", 0x1d, "", false},
	} {
		if data, detach := Input([]byte(c.typed), c.key); string(data) != c.data || detach != c.detach {
			t.Errorf("Input(%q) = %q, %v", c.typed, data, detach)
		}
	}
}

func TestFinder(t *testing.T) {
	for _, c := range []struct {
		text   string
		pieces []string
		found  int // index of the piece that completes the text, -1 never
	}{
		{"login: ", []string{"Debian\r\nlog", "i", "n: "}, 2},
		{"login: ", []string{"login:", "\nlogin: "}, 1},
		{"aab", []string{"a", "a", "a", "b"}, 3},
		{"x", []string{"", "abc"}, -1},
		{"", []string{"abc"}, -1},
	} {
		f, found := NewFinder(c.text), -1
		for i, p := range c.pieces {
			if f.Feed([]byte(p)) {
				found = i
				break
			}
		}
		if found != c.found {
			t.Errorf("%q in %q: found at %d, want %d", c.text, c.pieces, found, c.found)
		}
	}
}

func FuzzParseEscape(f *testing.F) {
	f.Add("^]")
	f.Add("none")
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseEscape(s)
		if err == nil && key != NoEscape && (key < 1 || key > 0x1f) {
			t.Fatalf("ParseEscape(%q) = %d", s, key)
		}
	})
}
