package networkpolicyrequired_test

import (
	"testing"

	"github.com/warder-dev/warder/library/networkpolicyrequired"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, networkpolicyrequired.Policy(), "testdata") }
