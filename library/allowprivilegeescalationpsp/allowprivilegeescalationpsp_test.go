package allowprivilegeescalationpsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/allowprivilegeescalationpsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, allowprivilegeescalationpsp.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	settings := `{"default_allow_privilege_escalation": false}`
	sdktest.Idempotent(t, sdktest.Load(t, allowprivilegeescalationpsp.Policy(), settings), sdktest.RandomWorkload)
}
