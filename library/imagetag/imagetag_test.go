package imagetag_test

import (
	"testing"

	"github.com/warder-dev/warder/library/imagetag"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, imagetag.Policy(), "testdata") }
