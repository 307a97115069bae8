package celpolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/runtime/celpolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, celpolicy.Policy(), "testdata") }
