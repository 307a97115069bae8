package apparmorpsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/apparmorpsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, apparmorpsp.Policy(), "testdata") }
