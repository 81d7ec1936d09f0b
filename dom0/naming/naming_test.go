package naming

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name        string
		guest, file bool
	}{
		{"web", true, true},
		{"w", true, true},
		{"web-1", true, true},
		{"1web", true, true},
		{strings.Repeat("a", 63), true, true},
		{"vmlinuz-6.12.117+deb12-amd64", false, true},
		{"Disk_1.raw", false, true},
		{"", false, false},
		{strings.Repeat("a", 64), false, false},
		{"-web", false, false},
		{"web-", false, false},
		{".web", false, false},
		{"..", false, false},
		{"a/b", false, false},
		{"a b", false, false},
		{"a\x00b", false, false},
		{"bücher", false, false},
	} {
		if err := Check("guest", c.name); (err == nil) != c.guest {
			t.Errorf("guest %q: %v", c.name, err)
		}
		if err := CheckFile("volume", c.name); (err == nil) != c.file {
			t.Errorf("volume %q: %v", c.name, err)
		}
	}
}

func FuzzCheckFile(f *testing.F) {
	f.Add("vmlinuz-6.12")
	f.Add("../x")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckFile("volume", name) != nil {
			return
		}
		if strings.ContainsAny(name, "/\x00 \n") || strings.HasPrefix(name, ".") || len(name) > 63 {
			t.Errorf("%q passes", name)
		}
	})
}
