package rules

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	code    = regexp.MustCompile("(?ms)^```.*?^```$")
)

// Every link of the README and of docs/ that stays in the repository leads to a
// file or folder, and to a heading where it names one.
func TestLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, filepath.Join(root, "README.md"))
	checked := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			checked++
			if why := broken(page, m[1]); why != "" {
				t.Errorf("%s: (%s): %s", page, m[1], why)
			}
		}
	}
	if len(pages) < 10 || checked < 20 {
		t.Errorf("only %d pages and %d links found: this test looks in the wrong place", len(pages), checked)
	}
}

// broken says what is wrong with a link on a page, "" when nothing is.
func broken(page, target string) string {
	file, anchor, hasAnchor := strings.Cut(target, "#")
	if strings.HasPrefix(file, "/") {
		return "is absolute"
	}
	path := page
	if file != "" {
		path = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
	}
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return "is not there"
	case err != nil:
		return err.Error()
	case !hasAnchor:
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for _, m := range heading.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
		if slug(m[1]) == anchor {
			return ""
		}
	}
	return "has no such heading"
}

// slug is what a heading is called in links: lower case, words joined by dashes,
// without marks.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 0x7f:
			return r
		}
		return -1
	}, strings.ToLower(strings.TrimSpace(heading)))
}

func TestBrokenLinksAreSeen(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("# By PXE\n\n```sh\n# no heading\n```\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"page.md": "", "#by-pxe": "", "page.md#by-pxe": "",
		"gone.md": "is not there", "#no-heading": "has no such heading", "/etc": "is absolute",
	} {
		if got := broken(page, target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
