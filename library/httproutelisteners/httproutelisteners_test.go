package httproutelisteners_test

import (
	"testing"

	"github.com/warder-dev/warder/library/httproutelisteners"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, httproutelisteners.Policy(), "testdata") }
