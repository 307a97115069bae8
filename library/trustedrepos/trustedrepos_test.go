package trustedrepos_test

import (
	"testing"

	"github.com/warder-dev/warder/library/trustedrepos"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, trustedrepos.Policy(), "testdata") }
