package rbacpodexec_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rbacpodexec"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rbacpodexec.Policy(), "testdata") }
