package capabilitiesdenied_test

import (
	"testing"

	"github.com/warder-dev/warder/library/capabilitiesdenied"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, capabilitiesdenied.Policy(), "testdata") }
