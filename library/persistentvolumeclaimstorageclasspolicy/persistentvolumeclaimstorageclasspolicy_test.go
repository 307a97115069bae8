package persistentvolumeclaimstorageclasspolicy_test

import (
	"math/rand/v2"
	"testing"

	"github.com/warder-dev/warder/library/persistentvolumeclaimstorageclasspolicy"
	"github.com/warder-dev/warder/sdk"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) {
	sdktest.Cases(t, persistentvolumeclaimstorageclasspolicy.Policy(), "testdata")
}

func TestSecondPassChangesNothing(t *testing.T) {
	judge := sdktest.Load(t, persistentvolumeclaimstorageclasspolicy.Policy(), `{"allowedStorageClasses": ["slow"], "fallbackStorageClass": "slow"}`)
	objects := func(r *rand.Rand) *sdk.Request {
		req := sdktest.RandomWorkload(r)
		req.Kind = sdk.GroupVersionKind{Group: "", Version: "v1", Kind: "PersistentVolumeClaim"}
		return req
	}
	sdktest.Idempotent(t, judge, objects)
}
