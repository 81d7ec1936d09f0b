package naming

import "gozen/dom0/fault"

const maxLength = 63

// Check refuses a name that is not a DNS label. what is the kind of thing, for
// the message.
func Check(what, name string) error {
	return check(what, name, false)
}

// CheckFile refuses a name that cannot name a volume or an image.
func CheckFile(what, name string) error {
	return check(what, name, true)
}

func check(what, name string, file bool) error {
	if name == "" {
		return fault.New(fault.Invalid, "%s: the name is missing", what)
	}
	if len(name) > maxLength {
		return fault.New(fault.Invalid, "%s name %.80q: %d characters: at most %d", what, name, len(name), maxLength)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', file && 'A' <= c && c <= 'Z':
		case i > 0 && i < len(name)-1 && (c == '-' || file && (c == '.' || c == '_' || c == '+')):
		default:
			allowed := `a-z and 0-9, and "-" inside`
			if file {
				allowed = `letters and digits, and "-", ".", "_", "+" inside`
			}
			return fault.New(fault.Invalid, "%s name %q: use %s", what, name, allowed)
		}
	}
	return nil
}
