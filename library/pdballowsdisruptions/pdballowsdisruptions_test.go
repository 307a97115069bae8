package pdballowsdisruptions_test

import (
	"testing"

	"github.com/warder-dev/warder/library/pdballowsdisruptions"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, pdballowsdisruptions.Policy(), "testdata") }
