package rancherprojectpropagatelabels_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/warder-dev/warder/library/rancherprojectpropagatelabels"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rancherprojectpropagatelabels.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	host := sdktest.NewHost(t, sdktest.Answer{
		Capability: "kubernetes/get_resource",
		Payload:    json.RawMessage(`{"metadata": {"labels": {"propagate.team": "a", "propagate.example.com/owner": "b"}}}`),
	})
	judge := sdktest.Load(t, rancherprojectpropagatelabels.Policy(), nil)
	asking := func(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
		return judge(sdk.WithHost(ctx, host), req)
	}
	objects := func(r *rand.Rand) *sdk.Request {
		req := sdktest.RandomWorkload(r)
		req.Kind = sdk.GroupVersionKind{Group: "", Version: "v1", Kind: "Namespace"}
		var patch sdk.Patch
		patch.Set("/metadata/annotations/field.cattle.io~1projectId", "local:p-1")
		if object, err := patch.Apply(req.Object); err == nil {
			req.Object = object
		}
		return req
	}
	sdktest.Idempotent(t, asking, objects)
}
