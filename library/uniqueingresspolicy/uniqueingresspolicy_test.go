package uniqueingresspolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/uniqueingresspolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, uniqueingresspolicy.Policy(), "testdata") }
