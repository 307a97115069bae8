package ingress_test

import (
	"testing"

	"github.com/warder-dev/warder/library/ingress"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, ingress.Policy(), "testdata") }
