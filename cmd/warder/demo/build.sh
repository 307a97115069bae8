#!/bin/sh
# Builds the example policy that the demo brings with it. Run by go generate, in
# the folder of the command. The output is the same for the same Go version.
set -eu
out=$(mktemp)
trap 'rm -f "$out"' EXIT
GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS= go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$out" ../../examples/teamlabel
gzip -9n <"$out" >demo/teamlabel.wasm.gz
