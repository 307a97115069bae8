package sensitivecontainerenvvar_test

import (
	"testing"

	"github.com/warder-dev/warder/library/sensitivecontainerenvvar"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, sensitivecontainerenvvar.Policy(), "testdata") }
