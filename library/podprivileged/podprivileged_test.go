package podprivileged_test

import (
	"testing"

	"github.com/warder-dev/warder/library/podprivileged"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, podprivileged.Policy(), "testdata") }
