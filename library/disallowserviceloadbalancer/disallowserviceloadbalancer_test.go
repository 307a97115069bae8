package disallowserviceloadbalancer_test

import (
	"testing"

	"github.com/warder-dev/warder/library/disallowserviceloadbalancer"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, disallowserviceloadbalancer.Policy(), "testdata") }
