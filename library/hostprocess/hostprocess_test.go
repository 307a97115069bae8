package hostprocess_test

import (
	"testing"

	"github.com/warder-dev/warder/library/hostprocess"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, hostprocess.Policy(), "testdata") }
