//go:build !wasip1

package deprecatedapiversions_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

var update = flag.Bool("update", false, "write kubernetes.txt anew from k8s.io/api") //nolint:gochecknoglobals // the flag package wants it

const header = `# Deprecations of Kubernetes: API version, kind, deprecated in, removed in, replaced by; "-" is none.
# Made from the lifecycle methods of the types in k8s.io/api and k8s.io/apiextensions-apiserver:
# go test ./library/deprecatedapiversions -update
`

// The table says of every type what the API server itself says in its warnings.
func TestTableIsWhatKubernetesSays(t *testing.T) {
	types := runtime.NewScheme()
	if err := scheme.AddToScheme(types); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1beta1.AddToScheme(types); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for gvk := range types.AllKnownTypes() {
		if line, ok := lineOf(t, types, gvk); ok {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	want := header + strings.Join(lines, "\n") + "\n"
	const file = "kubernetes.txt"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(bytes.TrimSpace(have))+"\n"); diff != "" {
		t.Errorf("kubernetes.txt is not what the types say; run with -update (-want +have):\n%s", diff)
	}
}

func lineOf(t *testing.T, types *runtime.Scheme, gvk schema.GroupVersionKind) (line string, ok bool) {
	t.Helper()
	if gvk.Group == "" || gvk.Version == runtime.APIVersionInternal || strings.HasSuffix(gvk.Kind, "List") {
		return "", false
	}
	object, err := types.New(gvk)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(reflect.TypeOf(object).Elem().PkgPath(), "k8s.io/api") {
		return "", false
	}
	deprecated, ok := object.(interface{ APILifecycleDeprecated() (int, int) })
	if !ok {
		return "", false
	}
	version := func(major, minor int) string { return fmt.Sprintf("%d.%d.0", major, minor) }
	removedIn, replacement := "-", "-"
	if removed, ok := object.(interface{ APILifecycleRemoved() (int, int) }); ok {
		removedIn = version(removed.APILifecycleRemoved())
	}
	replaced, ok := object.(interface {
		APILifecycleReplacement() schema.GroupVersionKind
	})
	stable := schema.GroupVersionKind{Group: gvk.Group, Version: "v1", Kind: gvk.Kind}
	switch {
	case ok:
		replacement = replaced.APILifecycleReplacement().GroupVersion().String()
	case types.Recognizes(stable): // the lifecycle of some types does not name it
		replacement = stable.GroupVersion().String()
	}
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	return strings.Join([]string{apiVersion, kind, version(deprecated.APILifecycleDeprecated()), removedIn, replacement}, " "), true
}
