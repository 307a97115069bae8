package containerresources_test

import (
	"testing"

	"github.com/warder-dev/warder/library/containerresources"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, containerresources.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	settings := `{"cpu": {"defaultLimit": 2, "defaultRequest": "500m"}, "memory": {"defaultLimit": "1Gi"}}`
	sdktest.Idempotent(t, sdktest.Load(t, containerresources.Policy(), settings), sdktest.RandomWorkload)
}
