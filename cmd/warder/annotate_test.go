package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/artifact"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestAWaPCPolicyIsAskedForItsProtocol(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	module := write("policy.wasm", string(sdktest.Build(t, "../../examples/teamlabel", sdktest.WaPC)))
	metadata := write("metadata.yml", "rules: []\nmutating: false\nprotocolVersion: Unknown\n")
	var stdout, stderr bytes.Buffer
	if status := run([]string{"annotate", "-m", metadata, "-o", module, module}, &stdout, &stderr); status != exitOK {
		t.Fatalf("exit status %d: %s", status, &stderr)
	}
	if stdout.Len()+stderr.Len() > 0 {
		t.Errorf("stdout %q, stderr %q, want neither", &stdout, &stderr)
	}
	annotated, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := artifact.ReadMetadata(annotated)
	if err != nil || meta.ProtocolVersion != artifact.ProtocolV1 || meta.Annotations[annotationTool] != "warder "+version() {
		t.Errorf("ReadMetadata = %+v, %v, want protocol v1", meta, err)
	}
}

func TestTheCapabilitiesOfModulesAreThoseOfGrants(t *testing.T) {
	for _, name := range artifact.Capabilities() {
		if _, err := policy.ParseGrants([]string{name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := policy.ParseGrants([]string{"x"})
	for _, name := range artifact.Capabilities() {
		if namespace, _, _ := strings.Cut(name, "/"); !strings.Contains(err.Error(), namespace) {
			t.Errorf("%s is no namespace of grants: %v", namespace, err)
		}
	}
}

// FuzzMetadataFile reads a stranger's metadata.yml: what is read is valid
// metadata when it is written.
func FuzzMetadataFile(f *testing.F) {
	for _, seed := range []string{
		"rules: []\nmutating: false\n", "{\"rules\":[{\"apiGroups\":[\"\"]}],\n\t\"mutating\":true}", "rules: &a [*a]\nmutating: no",
		"a: &a {b: *a}", "rules: [{operations: [CREATE, CREATE]}]\nannotations: {x: 2020-01-01, y: 0x10, z: .inf, <<: {a: b}}",
		"- a", "---\n---\n", "rules: !!binary aGk=\nmutating: !!int \"x\"", "? [a]\n: b",
		"a: &a [x, x]\nb: &b [*a, *a]\nrules: &c [*b, *b, *c]\nmutating: {\"<<\": *b}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		source, meta, err := parseMetadataFile("m.yml", text)
		if (source == nil) == (err == nil) {
			t.Fatalf("parseMetadataFile = %v, %v", source, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "m.yml:") {
				t.Errorf("%v does not say which file", err)
			}
			return
		}
		if err := meta.Validate(); err != nil {
			_ = source.place(err)
		}
		if _, err := meta.MarshalJSON(); err != nil {
			t.Error(err)
		}
		_ = describe(&meta)
	})
}

func TestMetadataInJSONMeanWhatJSONSays(t *testing.T) {
	const text = "{\n\t\"rules\": [], \"mutating\": false,\n\t\"annotations\": {\"a\": \"x\\/y \\ud83d\\ude00 \\ud83d \\u0022\\\\/\", \"b\\t\": \"\\u00e9\"}}"
	_, m, err := parseMetadataFile("m.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "x/y 😀 \ufffd \"\\/", "b\t": "é"}, m.Annotations); diff != "" {
		t.Errorf("annotations (-want +have):\n%s", diff)
	}
	_, _, err = parseMetadataFile("m.json", []byte("{\"rules\": [],\n\t\"mutating\": 1}"))
	if want := "m.json:2:14: mutating: want true or false, have number"; err == nil || err.Error() != want {
		t.Errorf("parseMetadataFile = %v, want %s", err, want)
	}
}
