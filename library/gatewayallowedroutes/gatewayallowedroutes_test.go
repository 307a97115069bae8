package gatewayallowedroutes_test

import (
	"testing"

	"github.com/warder-dev/warder/library/gatewayallowedroutes"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, gatewayallowedroutes.Policy(), "testdata") }
