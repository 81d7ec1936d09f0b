package fault

import (
	"errors"
	"fmt"
)

// Kind is the class of a fault.
type Kind int

// The kinds, each with what a client may conclude from it.
const (
	Internal     Kind = iota // dom0 failed; the host's log knows more
	Invalid                  // the request can never succeed as it is
	NotFound                 // no thing of that name
	Exists                   // the name is taken
	Precondition             // not in the present state of the thing named
	Exhausted                // the host lacks memory, processors or disk space
	Unavailable              // this host cannot do it now; another, or later, may
	Aborted                  // the client's stream was cut or did not keep its promise
	TimedOut                 // the time the client gave has passed
)

var names = [...]string{"internal", "invalid", "not found", "exists", "precondition", "exhausted", "unavailable", "aborted", "timed out"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return names[k]
}

type fault struct {
	kind Kind
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// New returns an error of the kind. The format is that of fmt.Errorf, %w included.
func New(kind Kind, format string, args ...any) error {
	return &fault{kind, fmt.Errorf(format, args...)}
}

// KindOf returns the kind of the outermost fault in err, Internal if there is none.
func KindOf(err error) Kind {
	var f *fault
	if errors.As(err, &f) {
		return f.kind
	}
	return Internal
}
