package runasnonroot_test

import (
	"testing"

	"github.com/warder-dev/warder/library/runasnonroot"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, runasnonroot.Policy(), "testdata") }
