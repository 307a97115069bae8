package seccomppsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/seccomppsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, seccomppsp.Policy(), "testdata") }
