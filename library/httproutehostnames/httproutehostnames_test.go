package httproutehostnames_test

import (
	"testing"

	"github.com/warder-dev/warder/library/httproutehostnames"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, httproutehostnames.Policy(), "testdata") }
