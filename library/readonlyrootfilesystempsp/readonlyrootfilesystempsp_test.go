package readonlyrootfilesystempsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/readonlyrootfilesystempsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, readonlyrootfilesystempsp.Policy(), "testdata") }
