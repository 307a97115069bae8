package hpareplicas_test

import (
	"testing"

	"github.com/warder-dev/warder/library/hpareplicas"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, hpareplicas.Policy(), "testdata") }
