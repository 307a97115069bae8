package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// binary is a warder that was built.
type binary struct {
	platform v1.Platform
	content  []byte
	info     *buildinfo.BuildInfo
}

// build builds warder as a static binary that depends on the source, the
// version of Go and the platform alone: not on the folder, the user, or what
// the environment asks of Go.
func build(ctx context.Context, o *options, p v1.Platform, file string) (*binary, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs="+o.buildVCS,
		"-ldflags=-s -w -buildid=", "-o", file, "./cmd/warder")
	cmd.Dir = o.source
	cmd.Env = append(os.Environ(), "GOOS="+p.OS, "GOARCH="+p.Architecture, "CGO_ENABLED=0", "GOWORK=off",
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said))
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return &binary{platform: p, content: content, info: info}, nil
}

// version is what "warder version" says, of a binary without commit "devel".
func (b *binary) version() string {
	if v := b.info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}

// setting returns what go build noted under a key, "" for nothing.
func (b *binary) setting(key string) string {
	for _, s := range b.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
