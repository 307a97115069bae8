package manifest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	v1 "github.com/warder-dev/warder/api/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// asYAML is what the API server gets, document by document.
func asYAML(t *testing.T, objects ...v1.Object) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, o := range objects {
		u, err := Unstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("---\n")
		all.Write(text)
	}
	return all.Bytes()
}

// golden compares with testdata/NAME, of YAML if the name has no ending.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if filepath.Ext(name) == "" {
		file += ".yaml"
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), go test ./manifest -update if that is meant:\n%s", file, diff)
	}
}
