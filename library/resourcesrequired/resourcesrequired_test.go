package resourcesrequired_test

import (
	"testing"

	"github.com/warder-dev/warder/library/resourcesrequired"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, resourcesrequired.Policy(), "testdata") }
