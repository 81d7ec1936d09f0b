#!/bin/sh
# Regenerates hypercalls/gen from the protobuf definitions. Needs Debian's
# protobuf-compiler and libprotobuf-dev; the Go plugins are the versions that go.mod names.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/" tool
rm -rf gen && mkdir gen
PATH="$bin:$PATH" protoc -I proto \
	--go_out=gen --go_opt=module=gozen/hypercalls/gen \
	--connect-go_out=gen --connect-go_opt=module=gozen/hypercalls/gen \
	proto/gozen/v1/gozen.proto
