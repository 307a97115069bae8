package priorityclasspolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/priorityclasspolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, priorityclasspolicy.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	sdktest.Idempotent(t, sdktest.Load(t, priorityclasspolicy.Policy(), `{"denied_priority_classes": ["high"], "default_priority_class": "low"}`), sdktest.RandomWorkload)
}
