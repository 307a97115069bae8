package podsecurity_test

import (
	"testing"

	"github.com/warder-dev/warder/library/podsecurity"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, podsecurity.Policy(), "testdata") }
