package main

import (
	"testing"

	"github.com/warder-dev/warder/sdk"
)

// FuzzDecodeRequest: a file of any kind is a request of some kind or an error.
func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", `{"request": {"uid": "1"}}`, "---\n---\n# a\n", `{"kind": {"group": ""}, "operation": "CREATE"}`,
		"a: &a [*a]\n", `{"kind": "AdmissionReview", "request": null}`, "\"x\"", "---\tx\n--- y\n", "? {a: 1}\n: 2\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if req, err := decodeRequest(text); err == nil && (req == nil || req.Raw != nil || req.Object != nil && sdk.Check(req.Object) != nil) {
			t.Errorf("request = %+v", req)
		}
		if req, err := decodeRaw(text); err == nil && (req == nil || sdk.Check(req.Raw) != nil) {
			t.Errorf("raw request = %+v", req)
		}
	})
}

// FuzzResource: a custom resource of any shape is a policy that is valid, or an
// error.
func FuzzResource(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: policies.kubewarden.io/v1\nkind: ClusterAdmissionPolicy\nmetadata: {name: a}\n" +
			"spec: {module: \"builtin://pod-privileged\", mutating: false, rules: [{apiGroups: [\"\"], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}\n",
		"apiVersion: policies.kubewarden.io/v1\nkind: AdmissionPolicyGroup\nmetadata: {name: a, namespace: b}\nspec: {expression: a(), policies: {a: {}}}\n",
		"apiVersion: policies.kubewarden.io/v1\nkind: ClusterAdmissionPolicyGroup\nspec: null\n", "kind: []", "{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := resource(text)
		if err != nil {
			return
		}
		if p.ID == "" {
			t.Errorf("policy without a name:\n%s", text)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
}
