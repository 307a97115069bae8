package psalabelenforcer_test

import (
	"math/rand/v2"
	"testing"

	"github.com/warder-dev/warder/library/psalabelenforcer"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, psalabelenforcer.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	judge := sdktest.Load(t, psalabelenforcer.Policy(), `{"modes": {"enforce": "baseline", "enforce-version": "latest"}}`)
	objects := func(r *rand.Rand) *sdk.Request {
		req := sdktest.RandomWorkload(r)
		req.Kind = sdk.GroupVersionKind{Group: "", Version: "v1", Kind: "Namespace"}
		return req
	}
	sdktest.Idempotent(t, judge, objects)
}
