package kgatewaybackendtls_test

import (
	"testing"

	"github.com/warder-dev/warder/library/kgatewaybackendtls"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, kgatewaybackendtls.Policy(), "testdata") }
