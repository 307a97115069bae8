package linuxhardening_test

import (
	"testing"

	"github.com/warder-dev/warder/library/linuxhardening"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, linuxhardening.Policy(), "testdata") }
