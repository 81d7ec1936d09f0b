package main

import (
	"testing"

	"gozen/internal/depscheck"
)

func TestDeps(t *testing.T) { depscheck.Check(t) }
