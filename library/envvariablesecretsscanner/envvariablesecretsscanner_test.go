package envvariablesecretsscanner_test

import (
	"testing"

	"github.com/warder-dev/warder/library/envvariablesecretsscanner"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, envvariablesecretsscanner.Policy(), "testdata") }
