package namespacelabelpropagator_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/warder-dev/warder/library/namespacelabelpropagator"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, namespacelabelpropagator.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	host := sdktest.NewHost(t, sdktest.Answer{
		Capability: "kubernetes/get_resource",
		Payload:    json.RawMessage(`{"metadata": {"labels": {"team": "a", "example.com/owner": "b", "other": "c"}}}`),
	})
	judge := sdktest.Load(t, namespacelabelpropagator.Policy(), `{"propagatedLabels": ["team", "example.com/owner"]}`)
	asking := func(ctx context.Context, req *sdk.Request) (sdk.Verdict, error) {
		return judge(sdk.WithHost(ctx, host), req)
	}
	sdktest.Idempotent(t, asking, sdktest.RandomWorkload)
}
