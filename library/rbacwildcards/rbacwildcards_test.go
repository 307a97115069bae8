package rbacwildcards_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rbacwildcards"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, rbacwildcards.Policy(), "testdata") }
