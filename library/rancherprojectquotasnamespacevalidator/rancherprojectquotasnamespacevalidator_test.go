package rancherprojectquotasnamespacevalidator_test

import (
	"encoding/json"
	"testing"

	"github.com/warder-dev/warder/library/rancherprojectquotasnamespacevalidator"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) {
	sdktest.Cases(t, rancherprojectquotasnamespacevalidator.Policy(), "testdata")
}

// Annotations are what anybody writes: whatever they say, there is a verdict, and
// a rejection has a reason.
func FuzzAnnotations(f *testing.F) {
	f.Add("local:p-1", `{"limit": {"pods": "10", "limitsMemory": "1Gi"}}`, "20")
	f.Add("local:p-1", `{"limit": {"pods": 1e9}}`, "-1")
	f.Add(":", `[]`, "x")
	judge := sdktest.Load(f, rancherprojectquotasnamespacevalidator.Policy(), nil)
	f.Fuzz(func(t *testing.T, project, quota, limit string) {
		object, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
			"field.cattle.io/projectId": project, "field.cattle.io/resourceQuota": quota,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := json.Marshal(map[string]any{"spec": map[string]any{"resourceQuota": map[string]any{
			"limit": map[string]string{"pods": limit}, "usedLimit": map[string]string{"pods": "1"},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		host := sdktest.NewHost(t, sdktest.Answer{Capability: "kubernetes/get_resource", Payload: answer})
		v, err := judge(sdk.WithHost(t.Context(), host), sdktest.Request(t, "Namespace", object))
		if err != nil || v.Accepted != (v.Message == "") {
			t.Errorf("project %q, quota %q, limit %q: %+v, %v", project, quota, limit, v, err)
		}
	})
}
