package probes_test

import (
	"testing"

	"github.com/warder-dev/warder/library/probes"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, probes.Policy(), "testdata") }
