package deprecatedapiversions_test

import (
	"testing"

	"github.com/warder-dev/warder/library/deprecatedapiversions"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, deprecatedapiversions.Policy(), "testdata") }
