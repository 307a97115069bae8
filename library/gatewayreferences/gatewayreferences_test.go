package gatewayreferences_test

import (
	"testing"

	"github.com/warder-dev/warder/library/gatewayreferences"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, gatewayreferences.Policy(), "testdata") }
