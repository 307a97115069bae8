package disallowservicenodeport_test

import (
	"testing"

	"github.com/warder-dev/warder/library/disallowservicenodeport"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, disallowservicenodeport.Policy(), "testdata") }
