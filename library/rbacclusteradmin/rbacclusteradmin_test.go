package rbacclusteradmin_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rbacclusteradmin"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rbacclusteradmin.Policy(), "testdata") }
