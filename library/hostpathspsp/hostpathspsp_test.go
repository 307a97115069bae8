package hostpathspsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/hostpathspsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, hostpathspsp.Policy(), "testdata") }
