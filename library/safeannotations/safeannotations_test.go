package safeannotations_test

import (
	"testing"

	"github.com/warder-dev/warder/library/safeannotations"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, safeannotations.Policy(), "testdata") }
