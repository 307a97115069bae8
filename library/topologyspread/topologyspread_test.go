package topologyspread_test

import (
	"testing"

	"github.com/warder-dev/warder/library/topologyspread"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, topologyspread.Policy(), "testdata") }
