package httproutebackendtls_test

import (
	"testing"

	"github.com/warder-dev/warder/library/httproutebackendtls"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, httproutebackendtls.Policy(), "testdata") }
