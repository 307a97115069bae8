package allowedfsgroupspsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/allowedfsgroupspsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, allowedfsgroupspsp.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	settings := `{"rule": "MustRunAs", "ranges": [{"min": 1000, "max": 2000}]}`
	sdktest.Idempotent(t, sdktest.Load(t, allowedfsgroupspsp.Policy(), settings), sdktest.RandomWorkload)
}
