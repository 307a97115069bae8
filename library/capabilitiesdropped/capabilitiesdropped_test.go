package capabilitiesdropped_test

import (
	"testing"

	"github.com/warder-dev/warder/library/capabilitiesdropped"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, capabilitiesdropped.Policy(), "testdata") }
