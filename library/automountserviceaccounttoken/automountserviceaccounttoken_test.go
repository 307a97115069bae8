package automountserviceaccounttoken_test

import (
	"testing"

	"github.com/warder-dev/warder/library/automountserviceaccounttoken"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, automountserviceaccounttoken.Policy(), "testdata") }
