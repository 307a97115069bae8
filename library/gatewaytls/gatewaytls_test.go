package gatewaytls_test

import (
	"testing"

	"github.com/warder-dev/warder/library/gatewaytls"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, gatewaytls.Policy(), "testdata") }
