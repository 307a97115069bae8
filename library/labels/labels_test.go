package labels_test

import (
	"testing"

	"github.com/warder-dev/warder/library/labels"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, labels.Policy(), "testdata") }
