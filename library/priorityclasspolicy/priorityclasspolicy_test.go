package priorityclasspolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/priorityclasspolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, priorityclasspolicy.Policy(), "testdata") }
