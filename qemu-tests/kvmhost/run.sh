#!/bin/sh
# Runs tests tagged kvmhost inside the emulated host; see main.go.
cd "$(dirname "$0")/../.." && exec go run ./qemu-tests/kvmhost "$@"
