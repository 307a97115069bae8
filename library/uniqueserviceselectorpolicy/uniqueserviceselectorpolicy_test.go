package uniqueserviceselectorpolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/uniqueserviceselectorpolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, uniqueserviceselectorpolicy.Policy(), "testdata") }
