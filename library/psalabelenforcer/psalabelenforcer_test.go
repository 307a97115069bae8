package psalabelenforcer_test

import (
	"testing"

	"github.com/warder-dev/warder/library/psalabelenforcer"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, psalabelenforcer.Policy(), "testdata") }
