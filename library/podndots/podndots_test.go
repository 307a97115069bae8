package podndots_test

import (
	"testing"

	"github.com/warder-dev/warder/library/podndots"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, podndots.Policy(), "testdata") }

func TestSecondPassChangesNothing(t *testing.T) {
	sdktest.Idempotent(t, sdktest.Load(t, podndots.Policy(), nil), sdktest.RandomWorkload)
}
