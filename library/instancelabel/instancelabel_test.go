package instancelabel_test

import (
	"testing"

	"github.com/warder-dev/warder/library/instancelabel"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, instancelabel.Policy(), "testdata") }
