package safelabels_test

import (
	"testing"

	"github.com/warder-dev/warder/library/safelabels"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, safelabels.Policy(), "testdata") }
