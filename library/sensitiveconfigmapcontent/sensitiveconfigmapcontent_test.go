package sensitiveconfigmapcontent_test

import (
	"testing"

	"github.com/warder-dev/warder/library/sensitiveconfigmapcontent"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, sensitiveconfigmapcontent.Policy(), "testdata") }
