package hostnamespacespsp_test

import (
	"testing"

	"github.com/warder-dev/warder/library/hostnamespacespsp"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, hostnamespacespsp.Policy(), "testdata") }
