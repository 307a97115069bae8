package rbacbindingpodexec_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rbacbindingpodexec"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rbacbindingpodexec.Policy(), "testdata") }
