package imagepullpolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/imagepullpolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, imagepullpolicy.Policy(), "testdata") }
