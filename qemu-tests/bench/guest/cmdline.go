package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// options is what the kernel's command line says to the benchmark.
type options struct {
	subject  string
	address  netip.Prefix // of eth0; invalid if there is none to set
	tasks    []string
	powerOff bool
}

// parseCommandLine reads the words that begin with "bench." and skips the others.
// It returns what it could read even with an error.
func parseCommandLine(line string) (options, error) {
	var o options
	var err error
	for _, word := range strings.Fields(line) {
		name, isOurs := strings.CutPrefix(word, "bench.")
		if !isOurs {
			continue
		}
		name, value, _ := strings.Cut(name, "=")
		switch name {
		case "subject":
			o.subject = value
		case "addr":
			var wrong error
			if o.address, wrong = parseAddress(value); wrong != nil && err == nil {
				err = wrong
			}
		case "tasks":
			for t := range strings.SplitSeq(value, ";") {
				if t != "" {
					o.tasks = append(o.tasks, t)
				}
			}
		case "poweroff":
			o.powerOff = true
		default:
			if err == nil {
				err = fmt.Errorf("command line: no option %q", word)
			}
		}
	}
	return o, err
}

// parseAddress reads an IPv4 address with the length of its network's prefix.
func parseAddress(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("command line: %w", err)
	}
	if !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("command line: address %q is not IPv4", s)
	}
	return p, nil
}
