package annotations_test

import (
	"testing"

	"github.com/warder-dev/warder/library/annotations"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, annotations.Policy(), "testdata") }
