package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Info is what a module says about itself in its .modinfo section.
type Info struct {
	Depends  []string // modules whose symbols it uses
	PreSoft  []string // modules it wants loaded before itself, but can do without
	Aliases  []string // patterns of the hardware it drives, and other names
	Vermagic string
}

// ReadModule returns a module file's content, decompressed when the file name
// ends in .xz, .zst or .gz.
func ReadModule(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("kernel module: %w", err)
	}
	r := io.Reader(bytes.NewReader(raw))
	switch {
	case strings.HasSuffix(file, ".xz"):
		r, err = xz.NewReader(r)
	case strings.HasSuffix(file, ".zst"):
		r, err = zstd.NewReader(r)
	case strings.HasSuffix(file, ".gz"):
		r, err = gzip.NewReader(r)
	default:
		return raw, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", file, err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: decompress: %w", file, err)
	}
	return content, nil
}

// ParseInfo reads the .modinfo section of a module's content.
func ParseInfo(module []byte) (Info, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return Info{}, fmt.Errorf("not a kernel module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return Info{}, fmt.Errorf("not a kernel module: no .modinfo section")
	}
	data, err := section.Data()
	if err != nil {
		return Info{}, fmt.Errorf("read .modinfo: %w", err)
	}
	return parseModinfo(string(data)), nil
}

// parseModinfo reads key=value strings that are separated by zero bytes.
func parseModinfo(data string) Info {
	var info Info
	for _, entry := range strings.Split(data, "\x00") {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			continue
		}
		switch key {
		case "depends":
			for _, name := range strings.Split(value, ",") {
				if name = strings.TrimSpace(name); name != "" {
					info.Depends = append(info.Depends, canonical(name))
				}
			}
		case "softdep":
			info.PreSoft = append(info.PreSoft, preSoft(value)...)
		case "alias":
			info.Aliases = append(info.Aliases, value)
		case "vermagic":
			info.Vermagic = value
		}
	}
	return info
}

// preSoft returns the names after "pre:" of a softdep value such as
// "pre: a b post: c".
func preSoft(value string) []string {
	var names []string
	pre := false
	for _, word := range strings.Fields(value) {
		switch word {
		case "pre:":
			pre = true
		case "post:":
			pre = false
		default:
			if pre {
				names = append(names, canonical(word))
			}
		}
	}
	return names
}
