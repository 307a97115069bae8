package sharepidnamespacepolicy_test

import (
	"slices"
	"testing"

	"github.com/warder-dev/warder/library/sharepidnamespacepolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, sharepidnamespacepolicy.Policy(), "testdata") }

// The message is the sentence of the Kubewarden policy, word for word: where
// and what is in a warning.
func TestRefusalSaysWhereInAWarning(t *testing.T) {
	req := sdktest.Request(t, "Deployment", `{"spec": {"template": {"spec": {"shareProcessNamespace": true}}}}`)
	v := sdktest.Judge(t, sharepidnamespacepolicy.Policy(), nil, req)
	want := "spec.template.spec.shareProcessNamespace is true: each container would see and signal the processes of the others. Remove the field or set it to false"
	if v.Accepted || !slices.Equal(v.Warnings, []string{want}) {
		t.Errorf("accepted %t, warnings %q, want %q", v.Accepted, v.Warnings, want)
	}
}
