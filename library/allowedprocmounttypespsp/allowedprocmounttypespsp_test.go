package allowedprocmounttypespsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/allowedprocmounttypespsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, allowedprocmounttypespsp.Policy(), "testdata") }
