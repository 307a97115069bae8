package nspolicyservermapper_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/warder-dev/warder/library/nspolicyservermapper"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, nspolicyservermapper.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	host := sdktest.NewHost(t, sdktest.Answer{
		Capability: "kubernetes/get_resource",
		Payload:    json.RawMessage(`{"metadata": {"labels": {"admission.kubewarden.io/policy-server": "a"}}}`),
	})
	judge := sdktest.Load(t, nspolicyservermapper.Policy(), nil)
	asking := func(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
		return judge(sdk.WithHost(ctx, host), req)
	}
	objects := func(r *rand.Rand) *sdk.Request {
		req := sdktest.RandomWorkload(r)
		req.Kind = sdk.GroupVersionKind{Group: "policies.kubewarden.io", Version: "v1", Kind: "AdmissionPolicy"}
		return req
	}
	sdktest.Idempotent(t, asking, objects)
}
