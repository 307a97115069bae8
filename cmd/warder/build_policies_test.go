package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/library"
)

// A built-in as a module says of itself what the built-in does, and judges like
// it.
func TestABuiltinIsBuiltAsAModuleThatServes(t *testing.T) {
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	args := []string{"build-policies", "--source", "../..", "-o", out, "pod-privileged"}
	if status := run(args, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Fatalf("build-policies = %d %s", status, &stderr)
	}
	file := filepath.Join(out, "pod-privileged.wasm")
	if have := stdout.String(); have != file+"\n" {
		t.Errorf("stdout %q, want the file", have)
	}
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have, err := artifact.ReadMetadata(module)
	if err != nil || have == nil {
		t.Fatalf("metadata %v, %v", have, err)
	}
	b, _ := library.Lookup("pod-privileged")
	want := builtinMetadata(b)
	if usage := have.Annotations[annotationUsage]; !strings.HasPrefix(usage, "# pod-privileged\n") {
		t.Errorf("usage %q, want the README", usage)
	}
	delete(have.Annotations, annotationUsage)
	have.ContextAwareResources = slices.Clip(have.ContextAwareResources)
	if diff := cmp.Diff(describe(&want), describe(have)); diff != "" {
		t.Errorf("metadata (-want +have):\n%s", diff)
	}

	s := startServe(t, "guest: {module: \"file://"+file+"\"}\nnative: {module: \"builtin://pod-privileged\"}\n")
	guest, native := s.ask("/validate/guest"), s.ask("/validate/native")
	if guest != native || !strings.Contains(guest, rejected) {
		t.Errorf("the module says\n%s\nand the built-in\n%s", guest, native)
	}
	if have := s.get("/policies"); !strings.Contains(have, `"runtime":"wasi"`) {
		t.Errorf("policies %s, want one of the runtime wasi", have)
	}
}

// What all modules say of themselves is what may be said.
func TestMetadataOfBuiltinsAreValid(t *testing.T) {
	for _, b := range library.All() {
		m := builtinMetadata(b)
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		if m.Mutating != b.Mutating || len(m.Rules) == 0 || m.HostCapabilities == nil {
			t.Errorf("%s: metadata %+v", b.Name, m)
		}
	}
}

func TestBuildPoliciesSaysWhatItCannotBuild(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"pod-privilegd"}, "did you mean pod-privileged?"},
		{[]string{"--source", t.TempDir(), "pod-privileged"}, "it is not the source of warder"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"build-policies", "-o", t.TempDir()}, tt.args...)
		if status := run(args, &stdout, &stderr); status != exitError || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q = %d %s, want %q", tt.args, status, &stderr, tt.want)
		}
	}
}
