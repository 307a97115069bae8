package rancherprojectpropagatelabels_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rancherprojectpropagatelabels"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rancherprojectpropagatelabels.Policy(), "testdata") }
