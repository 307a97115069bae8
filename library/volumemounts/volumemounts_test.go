package volumemounts_test

import (
	"testing"

	"github.com/warder-dev/warder/library/volumemounts"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, volumemounts.Policy(), "testdata") }
