package rancherprojectquotasnamespacevalidator_test

import (
	"testing"

	"github.com/warder-dev/warder/library/rancherprojectquotasnamespacevalidator"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) {
	sdktest.Cases(t, rancherprojectquotasnamespacevalidator.Policy(), "testdata")
}
