//go:build !wasip1

package library_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/warder-dev/warder/library"
	"github.com/warder-dev/warder/sdk"
)

// The resource in a policy's README is the first that somebody tries.
func TestReadmesShowAResourceThatWorks(t *testing.T) {
	for _, b := range library.All() {
		text, err := os.ReadFile(strings.ReplaceAll(b.Name, "-", "") + "/README.md")
		if err != nil {
			t.Error(err)
			continue
		}
		block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
		if block == nil || !strings.HasPrefix(string(text), "# "+b.Name+"\n") {
			t.Errorf("%s: the README needs a heading of the name and a block of yaml", b.Name)
			continue
		}
		resource, err := yaml.YAMLToJSONStrict(block[1])
		if err != nil {
			t.Errorf("%s: %v", b.Name, err)
			continue
		}
		spec := sdk.View(resource).Get("spec")
		if module := spec.Get("module").String(); module != "builtin://"+b.Name || spec.Get("mutating").Bool() && !b.Mutating {
			t.Errorf("%s: module %q, mutating %t", b.Name, module, spec.Get("mutating").Bool())
		}
		if _, err := b.Policy.Load(spec.Get("settings").Raw()); err != nil {
			t.Errorf("%s: settings: %v", b.Name, err)
		}
	}
}
