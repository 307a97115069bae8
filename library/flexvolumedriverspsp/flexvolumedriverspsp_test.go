package flexvolumedriverspsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/flexvolumedriverspsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, flexvolumedriverspsp.Policy(), "testdata") }
