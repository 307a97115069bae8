package priorityclassrequired_test

import (
	"testing"

	"github.com/warder-dev/warder/library/priorityclassrequired"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, priorityclassrequired.Policy(), "testdata") }
