package pdbrequired_test

import (
	"testing"

	"github.com/warder-dev/warder/library/pdbrequired"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, pdbrequired.Policy(), "testdata") }
