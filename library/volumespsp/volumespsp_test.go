package volumespsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/volumespsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, volumespsp.Policy(), "testdata") }
