package sysctlpsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/sysctlpsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, sysctlpsp.Policy(), "testdata") }
