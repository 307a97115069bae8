package manifest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestKindWebhooks holds the configurations to golden files, which change with
// WARDER_UPDATE=1 only.
func TestKindWebhooks(t *testing.T) {
	service := KindWebhooks{Namespace: "warder", CABundle: []byte("CA"), Labels: map[string]string{"app.kubernetes.io/managed-by": "warder"}}
	url := KindWebhooks{URL: "https://127.0.0.1:9443/"}
	for name, object := range map[string]any{
		"kinds-validating.yaml":     KindValidating(service),
		"kinds-mutating.yaml":       KindMutating(service),
		"kinds-validating-url.yaml": KindValidating(url),
	} {
		have, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if os.Getenv("WARDER_UPDATE") != "" {
			if err := os.WriteFile(file, have, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(have)); diff != "" {
			t.Errorf("%s (-want +have):\n%s", name, diff)
		}
	}
}
