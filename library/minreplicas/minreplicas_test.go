package minreplicas_test

import (
	"testing"

	"github.com/warder-dev/warder/library/minreplicas"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, minreplicas.Policy(), "testdata") }
