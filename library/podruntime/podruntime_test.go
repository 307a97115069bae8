package podruntime_test

import (
	"testing"

	"github.com/warder-dev/warder/library/podruntime"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, podruntime.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	settings := `{"reservedRuntimes": ["runc"], "fallbackRuntime": "gvisor"}`
	sdktest.Idempotent(t, sdktest.Load(t, podruntime.Policy(), settings), sdktest.RandomWorkload)
}
