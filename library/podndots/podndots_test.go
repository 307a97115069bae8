package podndots_test

import (
	"testing"

	"github.com/warder-dev/warder/library/podndots"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, podndots.Policy(), "testdata") }
