package containerresources_test

import (
	"testing"

	"github.com/warder-dev/warder/library/containerresources"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, containerresources.Policy(), "testdata") }
