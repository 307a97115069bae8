package capabilitiespsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/capabilitiespsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, capabilitiespsp.Policy(), "testdata") }
