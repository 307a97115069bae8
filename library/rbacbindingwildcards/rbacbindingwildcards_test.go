package rbacbindingwildcards_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rbacbindingwildcards"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rbacbindingwildcards.Policy(), "testdata") }
