package pdbhpareplicas_test

import (
	"testing"

	"github.com/warder-dev/warder/library/pdbhpareplicas"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, pdbhpareplicas.Policy(), "testdata") }
