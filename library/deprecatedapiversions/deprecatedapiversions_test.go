package deprecatedapiversions_test

import (
	"testing"

	"github.com/warder-dev/warder/library/deprecatedapiversions"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestVersionsThatAreNone(t *testing.T) {
	for _, text := range []string{"1", "1.", "1.2.", "1.2.3.4", "1.x", "1.-2", "vv1.2", "1.2 ", "1.70000", "-1.2", " "} {
		sdktest.Invalid(t, deprecatedapiversions.Policy(), map[string]string{"kubernetes_version": text})
	}
	for _, text := range []string{"1.2", "v1.2.3", "1.2.3-rc.1", "1.2.3+k3s1", "1.25-gke"} {
		sdktest.Load(t, deprecatedapiversions.Policy(), map[string]string{"kubernetes_version": text})
	}
}

func TestCases(t *testing.T) { sdktest.Cases(t, deprecatedapiversions.Policy(), "testdata") }
