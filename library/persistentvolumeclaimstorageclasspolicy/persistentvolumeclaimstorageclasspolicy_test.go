package persistentvolumeclaimstorageclasspolicy_test

import (
	"testing"

	"github.com/warder-dev/warder/library/persistentvolumeclaimstorageclasspolicy"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) {
	sdktest.Cases(t, persistentvolumeclaimstorageclasspolicy.Policy(), "testdata")
}
