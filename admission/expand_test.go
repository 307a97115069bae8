package admission

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-dev/warder/engine"
	"github.com/warder-dev/warder/policy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

// deploymentReview is the review of a Deployment with this template.
func deploymentReview(template string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","kind":{"group":"apps","version":"v1","kind":"Deployment"},` +
		`"resource":{"group":"apps","version":"v1","resource":"deployments"},"name":"web","namespace":"shop","operation":"CREATE","userInfo":{"username":"ann"},` +
		`"object":{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":2,"template":` + template + `}}}}`
}

// TestADeploymentIsRefusedAndChangedByPoliciesForPods goes from policies.yml to
// the answer, with the same policy built in and in both forms of WebAssembly.
func TestADeploymentIsRefusedAndChangedByPoliciesForPods(t *testing.T) {
	dir := t.TempDir()
	const rules = `rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}], workloads: Expand`
	const limits = `{memory: {defaultRequest: 1Gi, defaultLimit: 1Gi}}`
	text := fmt.Sprintf("native: {module: \"builtin://pod-privileged\", bundle: all, %s}\n"+
		"limits-native: {module: \"builtin://container-resources\", settings: %s, allowedToMutate: true, %s}\n", rules, limits, rules)
	for _, form := range []sdktest.Form{sdktest.WASI, sdktest.WaPC} {
		file := filepath.Join(dir, string(form)+".wasm")
		if err := sdktest.BuildFile("../engine/testdata/portable", form, file); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%s: {module: \"file://%s\", settings: {policy: pod-privileged}, bundle: all, %s}\n"+
			"limits-%s: {module: \"file://%s\", settings: {policy: container-resources, settings: %s}, allowedToMutate: true, %s}\n",
			form, file, rules, form, file, limits, rules)
	}
	policies, warnings, err := policy.ParseFile("policies.yml", []byte(text))
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	e, err := engine.New(engine.Options{Timeout: engine.NoTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := e.Apply(t.Context(), policies); err != nil {
		t.Fatal(err)
	}
	h, err := New(Options{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Response struct {
			Allowed bool
			Patch   string
			Status  struct{ Message string }
		}
	}
	ask := func(path, template string) (a answer) {
		t.Helper()
		w := post(h, path, deploymentReview(template))
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
			t.Fatalf("POST %s = %d %s, %v", path, w.Code, w.Body, err)
		}
		return a
	}
	const privileged = `{"spec":{"containers":[{"name":"a"},{"name":"b","securityContext":{"privileged":true}}]}}`
	const said = "Privileged container is not allowed: spec.template.spec.containers[1].securityContext.privileged. " +
		"A privileged container can do what root can do on the node: remove the field or set it to false"
	const patch = `[{"op":"add","path":"/spec/template/spec/containers/0/resources","value":{"limits":{"memory":"1Gi"},"requests":{"memory":"1Gi"}}}]`
	for _, name := range []string{"native", "wasi", "wapc"} {
		if a := ask("/validate/"+name, privileged); a.Response.Allowed || a.Response.Status.Message != said {
			t.Errorf("%s: allowed %t, %q, want %q", name, a.Response.Allowed, a.Response.Status.Message, said)
		}
		a := ask("/validate/limits-"+name, `{"spec":{"containers":[{"name":"a","n":1.0}]}}`)
		have, err := base64.StdEncoding.DecodeString(a.Response.Patch)
		if diff := cmp.Diff(patch, string(have)); err != nil || diff != "" {
			t.Errorf("limits-%s: allowed %t, %q, %v, patch (-want +have):\n%s", name, a.Response.Allowed, a.Response.Status.Message, err, diff)
		}
	}
	want := []string{"3 policies refuse this request:", "- native: " + said, "- wapc: " + said, "- wasi: " + said}
	if diff := cmp.Diff(want, strings.Split(ask("/review/all", privileged).Response.Status.Message, "\n")); diff != "" {
		t.Errorf("bundle (-want +have):\n%s", diff)
	}
}
