package nspolicyservermapper_test

import (
	"testing"

	"github.com/warder-dev/warder/library/nspolicyservermapper"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, nspolicyservermapper.Policy(), "testdata") }
