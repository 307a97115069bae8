package capabilitiespsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/capabilitiespsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, capabilitiespsp.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	settings := `{"required_drop_capabilities": ["ALL"], "allowed_capabilities": ["KILL"], "default_add_capabilities": ["KILL"]}`
	sdktest.Idempotent(t, sdktest.Load(t, capabilitiespsp.Policy(), settings), sdktest.RandomWorkload)
}
