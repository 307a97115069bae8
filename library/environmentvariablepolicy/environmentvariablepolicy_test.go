package environmentvariablepolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/environmentvariablepolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, environmentvariablepolicy.Policy(), "testdata") }
