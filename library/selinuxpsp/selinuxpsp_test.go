package selinuxpsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/selinuxpsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, selinuxpsp.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	settings := `{"rule": "MustRunAs", "user": "u", "level": "s0:c1,c2"}`
	sdktest.Idempotent(t, sdktest.Load(t, selinuxpsp.Policy(), settings), sdktest.RandomWorkload)
}
