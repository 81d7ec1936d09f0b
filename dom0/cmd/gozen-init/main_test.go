package main

import (
	"testing"

	"gozen/internal/depscheck"
)

// TestDeps keeps PID 1 small: no network configuration, no TLS, no third-party
// code but system calls.
func TestDeps(t *testing.T) { depscheck.Check(t) }
