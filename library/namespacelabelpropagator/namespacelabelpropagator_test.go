package namespacelabelpropagator_test

import (
	"testing"

	"github.com/warder-dev/warder/library/namespacelabelpropagator"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, namespacelabelpropagator.Policy(), "testdata") }
